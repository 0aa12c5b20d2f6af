"""The connection to NATS, and the thread that it lives on. What waits for the network waits there.

A thread with an event loop of its own, so that neither the server's loop nor the engine waits for
NATS, and NATS waits for neither. A *client* of nats-py lasts until its connection is lost, and
never reconnects by itself: what it had under way is then in doubt, and whoever had something is
told (``on_lost``). Another client follows as soon as a server answers.

All but ``open``, ``call``, ``close`` and ``is_connected`` is on that thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Coroutine
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import ParseResult, SplitResult, urlsplit

from omendb_core.model.errors import Unavailable

from ...runtime.extras import ExtraMissing
from ...runtime.faults import as_error

if TYPE_CHECKING:
    from nats.aio.client import Client

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

#: Where NATS listens unless told otherwise.
NATS_PORT: Final = 4222
#: How long a server may take to answer a connection, and how long until the next attempt.
CONNECT_SECONDS: Final = 2
RETRY_SECONDS: Final = 0.25
#: How long the first connection is tried for.
FIRST_SECONDS: Final = 5.0
#: What a client may hold back of what was received: more than all that is asked for at once.
PENDING_BYTES: Final = 128 << 20
#: How often whoever waits for something looks whether the thread is there.
_LOOK_SECONDS: Final = 1.0
_CLOSED: Final = "the connection to the cluster's NATS is closed"


class Refused(Exception):
    """NATS does not let this node in, or is not what a cluster needs; trying again is of no use."""


def check_extra() -> None:
    """ExtraMissing where nats-py is not installed."""
    try:
        import nats  # noqa: F401
    except ImportError as error:
        raise ExtraMissing(
            "a cluster needs the extra cluster: pip install 'omendb-ws[cluster]'"
        ) from error


class Connection:
    """To one of ``servers``; ``credentials`` is the path of a .creds file."""

    def __init__(self, servers: tuple[str, ...], credentials: str | None, name: str) -> None:
        self._servers = servers
        self._credentials = credentials
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_heard)
        self._thread = threading.Thread(target=self._run, name="omendb-nats", daemon=True)
        self._client: Client | None = None
        self._is_there = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        #: Those that other threads wait for.
        self._called: set[asyncio.Task[Any]] = set()
        #: Called, on this thread, when a client is lost.
        self.on_lost: set[Callable[[], None]] = set()
        self.losses = 0
        self._is_closing = False
        #: What NATS does not let this node do, as it said last; "" if nothing.
        self.denied = ""

    # -- from other threads -----------------------------------------------------------------------

    def open(self) -> None:
        """Connect. Raises Refused; Unavailable if no server answers in time."""
        check_extra()
        if self._credentials is not None:
            _refuse_other_files(self._credentials)
        self._thread.start()
        try:
            self.call(self._begin())
        except BaseException:
            self.close()
            raise

    def call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do ``work`` on the thread of the connection, and wait for it.

        Unavailable if the connection is closed meanwhile, or was.
        """
        if self._is_closing:
            work.close()
            raise Unavailable(_CLOSED)
        doing = asyncio.run_coroutine_threadsafe(self._do(work), self._loop)
        while True:
            try:
                return doing.result(_LOOK_SECONDS)
            except futures.CancelledError:
                raise Unavailable(_CLOSED) from None
            except TimeoutError:
                if doing.done():
                    raise
                if not self._thread.is_alive():
                    raise Unavailable(_CLOSED) from None

    async def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        task = asyncio.current_task()
        assert task is not None
        self._called.add(task)
        try:
            return await work
        finally:
            self._called.discard(task)

    def soon(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called on that thread; nothing comes of it once that has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    @property
    def is_connected(self) -> bool:
        """Whether a server is connected now."""
        return self._client is not None

    def servers(self) -> list[tuple[str, bool]]:
        """The servers that were given, and those that they told of: ``host:port``, in order, and
        whether it is the one that is connected.
        """
        client, current = self._client, None
        found = {_host_and_port(urlsplit(shown(one))) for one in self._servers}
        if client is not None:
            current = client.connected_url
            found |= {_host_and_port(one) for one in client.discovered_servers}
        connected = None if current is None else _host_and_port(current)
        if connected is not None:
            found.add(connected)
        return [(one, one == connected) for one in sorted(found)]

    def local_host(self) -> str | None:
        """This machine's address on the way to NATS; None while none is connected."""
        transport = getattr(self._client, "_transport", None)
        writer = getattr(transport, "_io_writer", None)
        name = None if writer is None else writer.get_extra_info("sockname")
        return str(name[0]) if name else None

    def close(self) -> None:
        """End the connection, and its thread; again and again."""
        if not self._thread.is_alive():
            return
        with suppress(Exception):
            self.call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- on its thread ----------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """The client of now. Unavailable while there is none."""
        if self._client is None:
            raise Unavailable("the cluster's NATS cannot be reached; try again")
        return self._client

    async def until_connected(self) -> None:
        """Wait for a client."""
        await self._is_there.wait()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of this thread, which ends with the connection at the latest."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Have ``callback`` called then."""
        return self._loop.call_later(seconds, callback)

    @property
    def now(self) -> float:
        """The clock of ``later``, in seconds."""
        return self._loop.time()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                await self._connect_until_it_works()
        except TimeoutError:
            raise Unavailable(
                f"cluster: no NATS server answers at {', '.join(map(shown, self._servers))}"
            ) from None
        self._keeping = self._loop.create_task(self._keep())

    async def _connect_until_it_works(self) -> None:
        while True:
            try:
                await self._connect()
                return
            except Refused:
                raise
            except Exception as error:
                log.debug("connecting to NATS: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _connect(self) -> None:
        from nats.aio.client import Client

        client = Client()
        try:
            await client.connect(
                servers=list(self._servers),
                name=self._name,
                user_credentials=self._credentials,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=CONNECT_SECONDS,
                pending_size=64 << 20,
                error_cb=self._heard_error,
                closed_cb=self._lost(client),
            )
        except Exception as error:
            with suppress(Exception):
                await client.close()
            if "uthoriz" in str(error) or "uthentication" in str(error):
                why = f"cluster: NATS refuses this node's credentials: {error}"
                raise Refused(why) from error
            raise
        self._client = client
        self._is_there.set()

    def _lost(self, client: Client) -> Callable[[], Coroutine[Any, Any, None]]:
        async def lost() -> None:
            if self._client is client:
                self._client = None
                self._is_there.clear()
                self._tell_lost()

        return lost

    async def _heard_error(self, error: Exception) -> None:
        log.debug("NATS: %s", error)
        if "ermissions violation" in str(error):
            self.denied = str(error)

    def _tell_lost(self) -> None:
        self.losses += 1
        if not self._is_closing:
            log.warning("the connection to NATS is lost")
        for tell in list(self.on_lost):
            try:
                tell()
            except Exception as error:
                as_error(error, "telling that NATS is lost")

    async def _keep(self) -> None:
        """Have a client again whenever one is lost."""
        refused = ""
        while True:
            client = self._client
            if client is not None and client.is_closed:  # what fails as it closes tells nobody
                transport: Any = client._transport
                transport.close()
                for subscription in client._subs.values():
                    subscription._stop_processing()
                await self._lost(client)()
            if self._client is None:
                try:
                    await self._connect_until_it_works()
                    log.info("connected to NATS again")
                    refused = ""
                except Refused as error:
                    if str(error) != refused:  # it is tried four times a second
                        log.error("%s", error)
                    refused = str(error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _end(self) -> None:
        self._is_closing = True
        called = {task for task in self._called if task is not asyncio.current_task()}
        tasks: set[asyncio.Task[Any]] = self._tasks | called
        if self._keeping is not None:
            tasks |= {self._keeping}
        await _end_tasks(tasks)
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.close()
        await _end_all_others()


def _refuse_other_files(path: str) -> None:
    """Refused if ``path`` holds no credentials; nats-py would try for ever."""
    try:
        text = Path(path).read_text("utf-8", "replace")
    except OSError as error:
        raise Refused(f"cluster_credentials {path}: {error.strerror}") from error
    if any(f"BEGIN {part}" not in text for part in ("NATS USER JWT", "USER NKEY SEED")):
        raise Refused(f"cluster_credentials {path}: holds no credentials of NATS (a .creds file)")


def shown(server: str) -> str:
    """A server's address without what may be a password."""
    scheme, _, rest = server.rpartition("://")
    return f"{scheme or 'nats'}://{rest.rpartition('@')[2]}"


def _host_and_port(address: SplitResult | ParseResult) -> str:
    host = address.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{address.port or NATS_PORT}"


async def _end_all_others() -> None:
    """End what is left of clients: one that failed while it closed leaves its tasks behind."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    with suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_SECONDS):
            await _end_tasks(left)


async def _end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` until they are done.

    Again and again: ``wait_for`` before Python 3.12, which nats-py waits with, drops a
    cancellation that comes at the moment at which what it waits for is done.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=RETRY_SECONDS)


def _heard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task of nats-py ended by the connection's end, which ``_keep`` sees by itself."""
    error = context.get("exception")
    if isinstance(error, OSError) and "future" in context:
        log.debug("NATS: %s", error)
    else:
        loop.default_exception_handler(context)
