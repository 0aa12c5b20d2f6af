"""What a cluster asks of JetStream: streams, consumers, entries of the key-value bucket.

Requests in JSON over the connection, on its thread. Whatever the network does is Unavailable, and
nobody knows then whether it was done; what JetStream refuses is an ``ApiError``.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
from omendb_core.model.errors import Unavailable

from .connection import Connection, Refused
from .names import format_entry, secret_entry
from .records import FORMAT

#: How long JetStream may take to answer.
REQUEST_SECONDS: Final = 5.0
#: How long until it is asked again what may be asked twice.
AGAIN_SECONDS: Final = 1.0
#: How long any one server may take to answer for a message.
DIRECT_SECONDS: Final = 0.5
#: How long servers that start may take to elect who answers, and how often they are asked.
FORMING_SECONDS: Final = 30.0
_FORMING_REQUEST_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.25
#: Of servers that start: nobody leads them yet, or too few are there.
_FORMING: Final = frozenset({10008, 10005, 10009, 10004})
NOT_FOUND: Final = frozenset({10059, 10037, 10014})  # stream, message, consumer
#: No room in memory, on disk, or in the account: what was to be stored is not.
FULL: Final = frozenset({10002, 10023, 10028, 10047})
WRONG_LAST: Final = frozenset({10071, 10164})
NAME_IN_USE: Final = 10058
#: Below it there are no atomic batches.
LEAST_VERSION: Final = (2, 12)
#: What a message may be, at least; with less a large change needs more parts than are allowed.
LEAST_PAYLOAD_BYTES: Final = 64 << 10


class ApiError(Exception):
    """JetStream refused something."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("description", error)))
        self.number = int(error.get("err_code", 0))

    @property
    def is_not_found(self) -> bool:
        """Whether what was asked for is not there."""
        return self.number in NOT_FOUND

    @property
    def is_full(self) -> bool:
        """Whether there was no room for it."""
        return self.number in FULL

    @property
    def is_wrong_last(self) -> bool:
        """Whether something else came before."""
        return self.number in WRONG_LAST


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the bucket; ``revision`` is what a change of it must name."""

    value: dict[str, Any]
    revision: int


class JetStream:
    """JetStream as one cluster uses it; ``replicas`` is how many servers a stream is to be on."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self.connection = connection
        self.bucket = bucket
        self.bucket_stream = f"KV_{bucket}"
        self.replicas = 1
        self.max_payload_bytes = 0
        self._request_seconds = REQUEST_SECONDS
        #: How often logs of this node were taken over from itself.
        self.takeovers = 0

    async def begin(self) -> None:
        """Look at the servers, and have the bucket. Raises Refused, Unavailable."""
        info: dict[str, Any] = self.connection.client._server_info
        version = str(info.get("version", "0"))
        numbers = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
        if numbers < LEAST_VERSION:
            raise Refused(f"cluster: NATS {version} has no atomic batches; 2.12 or later has")
        if not info.get("jetstream"):
            raise Refused("cluster: these NATS servers have no JetStream (nats-server -js)")
        self.max_payload_bytes = int(info["max_payload"])
        if self.max_payload_bytes < LEAST_PAYLOAD_BYTES:
            raise Refused(
                f"cluster: max_payload of these NATS servers is {self.max_payload_bytes};"
                f" {LEAST_PAYLOAD_BYTES} or more is needed"
            )
        self.replicas = 3 if info.get("cluster") else 1
        config = {
            "name": self.bucket_stream,
            "subjects": [f"$KV.{self.bucket}.>"],
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "storage": "file",
            "num_replicas": self.replicas,
        }
        self._request_seconds = _FORMING_REQUEST_SECONDS
        try:
            async with asyncio.timeout(FORMING_SECONDS):
                await self._have_bucket(config)
        except TimeoutError:
            raise Unavailable("cluster: these NATS servers do not agree on a leader") from None
        finally:
            self._request_seconds = REQUEST_SECONDS

    async def agree_on_format(self, version: str) -> None:
        """Refuse a cluster whose entries or streams this version does not know; ``version`` is
        what the first node of a new one says. Refused.
        """
        there = await self.get(format_entry())
        if there is None:
            with suppress(ApiError):  # another node is the first
                await self.put(format_entry(), {"format": FORMAT, "version": version}, 0)
            there = await self.get(format_entry())
        found = {} if there is None else there.value
        if found.get("format", FORMAT) != FORMAT:
            raise Refused(
                f"cluster: it is in format {found['format']}, of version {found.get('version')};"
                f" this version, {version}, knows format {FORMAT}: upgrade this node"
            )

    async def _have_bucket(self, config: dict[str, Any]) -> None:
        """Make it, if it is not there, and return when it answers."""
        while True:
            with suppress(Unavailable):
                if await self._is_made(config):
                    await self.get(secret_entry())
                    return
            if self.connection.denied:
                denied = self.connection.denied
                raise Refused(f"cluster: NATS does not let this node do what it must: {denied}")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _is_made(self, config: dict[str, Any]) -> bool:
        try:
            await self.request(f"STREAM.CREATE.{self.bucket_stream}", config)
        except ApiError as error:
            if error.number in _FORMING:
                return False
            if error.number != NAME_IN_USE:
                raise Refused(f"cluster: NATS has no room for this cluster: {error}") from error
        return True

    async def request(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What JetStream's API answers. ApiError, Unavailable."""
        return await self._ask(f"$JS.API.{subject}", orjson.dumps(body or {}), {})

    async def insist(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """As ``request``, for what may be done twice: asked for anew until one is answered.

        What comes while servers elect who leads is answered by nobody, not even afterwards.
        While there is no connection it fails at once.
        """
        asked: set[asyncio.Task[dict[str, Any]]] = set()
        try:
            async with asyncio.timeout(self._request_seconds):
                while True:
                    asked.add(asyncio.create_task(self.request(subject, body)))
                    done, asked = await asyncio.wait(
                        asked, timeout=AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    for one in done:
                        try:
                            return one.result()
                        except Unavailable:
                            if not self.connection.is_connected:
                                raise
                    if done:
                        await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError as error:
            raise Unavailable(f"the cluster's NATS does not answer {subject}") from error
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    # -- streams ----------------------------------------------------------------------------------

    async def create_stream(
        self, name: str, subject: str, storage: Literal["file", "memory"] = "file"
    ) -> None:
        """A stream of its own for a collection, in the files or the memory of its servers."""
        await self.request(
            f"STREAM.CREATE.{name}",
            {
                "name": name,
                "subjects": [subject],
                "storage": storage,
                "num_replicas": self.replicas,
                "allow_atomic": True,
                "allow_direct": True,
                "retention": "limits",
                "max_msgs": -1,
                "max_bytes": -1,
                "max_age": 0,
                "deny_delete": True,
            },
        )

    async def stream_state(self, name: str) -> dict[str, Any]:
        """Its ``first_seq``, ``last_seq``, ``bytes``. ApiError where there is none."""
        state: dict[str, Any] = (await self.insist(f"STREAM.INFO.{name}"))["state"]
        return state

    async def servers_of(self, name: str) -> set[str]:
        """The names of the servers that a stream is on. ApiError, Unavailable."""
        cluster = (await self.request(f"STREAM.INFO.{name}")).get("cluster") or {}
        leader = cluster.get("leader") or self.connection.client._server_info["server_name"]
        return {leader} | {one["name"] for one in cluster.get("replicas") or ()}

    async def delete_stream(self, name: str) -> None:
        """Have no such stream."""
        try:
            await self.request(f"STREAM.DELETE.{name}")
        except ApiError as error:
            if not error.is_not_found:
                raise

    async def message(self, name: str, sequence: int) -> bytes:
        """A message of a stream. ApiError, Unavailable."""
        found = await self.request(f"STREAM.MSG.GET.{name}", {"seq": sequence})
        return base64.b64decode(found["message"].get("data", ""))

    async def message_of_any(self, name: str, sequence: int) -> tuple[bytes, int] | None:
        """A message of a stream, and when NATS stored it, in ns: by whichever server has it.

        None where none answers, or that one has not got it; it may be there all the same.
        """
        from nats import errors

        subject, wanted = f"$JS.API.DIRECT.GET.{name}", orjson.dumps({"seq": sequence})
        try:
            answer = await self.connection.client.request(subject, wanted, DIRECT_SECONDS)
        except (errors.Error, TimeoutError, OSError):
            return None
        headers = answer.headers or {}
        if headers.get("Nats-Sequence") != str(sequence):
            return None
        return answer.data, nanoseconds(headers["Nats-Time-Stamp"])

    async def purge(self, name: str, sequence: int) -> None:
        """Take out what lies before ``sequence``."""
        await self.request(f"STREAM.PURGE.{name}", {"seq": sequence})

    async def store(self, subject: str, message: bytes, last_sequence: int) -> int:
        """Append ``message`` behind ``last_sequence``; its own one."""
        headers = {"Nats-Expected-Last-Sequence": str(last_sequence)}
        return await self.commit(subject, message, headers)

    async def commit(self, subject: str, message: bytes, headers: dict[str, str]) -> int:
        """Append ``message``, the last of a batch where ``headers`` say so; its sequence."""
        return int((await self._ask(subject, message, headers))["seq"])

    # -- the bucket -------------------------------------------------------------------------------

    def subject_of(self, key: str) -> str:
        """Where an entry is written."""
        return f"$KV.{self.bucket}.{key}"

    async def listing(self) -> tuple[set[str], int]:
        """The keys of all entries, and the last revision of any that is among them."""
        found = await self.insist(
            f"STREAM.INFO.{self.bucket_stream}", {"subjects_filter": self.subject_of(">")}
        )
        state, prefix = found["state"], self.subject_of("")
        subjects = state.get("subjects") or {}
        return {subject.removeprefix(prefix) for subject in subjects}, int(state["last_seq"])

    async def entries(self) -> list[str]:
        """The keys of all entries, in order."""
        return sorted((await self.listing())[0])

    async def get(self, key: str) -> Entry | None:
        """An entry; None if there is none."""
        try:
            found = await self.insist(
                f"STREAM.MSG.GET.{self.bucket_stream}", {"last_by_subj": self.subject_of(key)}
            )
        except ApiError as error:
            if error.is_not_found:
                return None
            raise
        message = found["message"]
        value = orjson.loads(base64.b64decode(message.get("data", "")) or b"{}")
        return Entry(value, int(message["seq"]))

    async def put(self, key: str, value: dict[str, Any], revision: int | None = None) -> int:
        """Set an entry; its revision. With ``revision`` only if it has that one, 0: if it is new.

        ApiError (``is_wrong_last``) where it has another.
        """
        headers = {}
        if revision is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(revision)
        answer = await self._ask(self.subject_of(key), orjson.dumps(value), headers)
        return int(answer["seq"])

    async def remove(self, key: str) -> None:
        """Have no such entry, without a trace of it."""
        await self.insist(f"STREAM.PURGE.{self.bucket_stream}", {"filter": self.subject_of(key)})

    async def _ask(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        from nats import errors

        client = self.connection.client
        try:
            answer = await client.request(
                subject, data, self._request_seconds, headers=headers or None
            )
        except (errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the cluster's NATS does not answer: {error}") from error
        found: dict[str, Any] = orjson.loads(answer.data)
        if "error" in found:
            raise ApiError(found["error"])
        return found


def nanoseconds(text: str) -> int:
    """Unix time in ns of a time of NATS: RFC 3339 in UTC, with up to nine digits of a second."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))
