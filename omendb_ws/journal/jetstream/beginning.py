"""A new stream, which begins with a checkpoint; and the log behind that."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from omendb_core.model.errors import Unavailable
from omendb_core.model.logged import Checkpoint

from ..interface import Manifest, Settle
from .api import ApiError
from .checkpoints import checkpoint_body
from .followed import Followed
from .following import open_log
from .log import StreamLog
from .ownership import store_batch
from .records import encode, messages_of
from .streamed import Streamed

#: Right after it was made a stream may have nobody who answers for it.
_ATTEMPTS: Final = 40
_RETRY_SECONDS: Final = 0.25


async def begin_stream(
    streamed: Streamed, manifest: Manifest, checkpoint: Checkpoint, settle: Settle
) -> StreamLog:
    """A log of this node's own, on a stream that begins with ``checkpoint``.

    On the connection's thread. ApiError, Unavailable; ValueError where that does not fit.
    """
    jetstream = streamed.jetstream
    storage: Literal["file", "memory"] = "memory" if manifest.durability == "memory" else "file"
    await jetstream.create_stream(streamed.stream, streamed.subject, storage)
    term = await streamed.ownership.take(0, from_others=True)
    buffers, _ = encode(checkpoint_body(manifest, checkpoint), term, 0)
    messages = messages_of(buffers, jetstream.max_payload_bytes)
    await _store_first(streamed, messages)
    followed = Followed(streamed.limits)
    for sequence, message in enumerate(messages, 1):
        followed.take(sequence, message, 0)
    return await open_log(streamed, followed, settle)


async def _store_first(streamed: Streamed, messages: list[bytes]) -> None:
    jetstream, where = streamed.jetstream, streamed.subject
    for attempt in range(_ATTEMPTS):
        try:
            if len(messages) == 1:
                await jetstream.store(where, messages[0], 0)
            else:
                await store_batch(jetstream, where, messages, 0)
            return
        except ApiError as error:
            # The answer to an attempt before may have been lost: nobody else writes there.
            if not (attempt and error.is_wrong_last):
                raise
            if (await jetstream.stream_state(streamed.stream))["last_seq"] != len(messages):
                raise
            return
        except Unavailable:
            if attempt + 1 == _ATTEMPTS or not jetstream.connection.is_connected:
                raise
        await asyncio.sleep(_RETRY_SECONDS)
