"""The one exception tree: every error a client can be told, engine to wire to client.

Each class stands for one code of PROTOCOL section 9 and carries its ``retry``; the server raises
them, the wire writes ``code``, the client raises the same class again. ::

    OmenError
    ├── BadRequest, BadFrame                       the message itself
    ├── BadVector, DimMismatch, NonFinite, ZeroNorm   a vector
    ├── BadId, DuplicateId, BadK, BadFilter, BadName, BadMetadata
    ├── OutOfOrder (expected), WrongEpoch (epoch)  what came before
    ├── NotFound, Exists, Unsupported
    ├── TooLarge, Quota                            a limit; a budget
    ├── Unauthenticated, Forbidden
    └── Retryable                                  nothing is wrong with the request
        ├── RateLimited, Overloaded            (retry_after_ms)
        ├── StorageFull                            (StorageFailed is not retryable)
        ├── Behind                             (version)
        └── Unavailable, Draining, Internal
"""

from __future__ import annotations

from typing import ClassVar


class OmenError(Exception):
    """An error with a code of the protocol.

    ``row`` is the index of the row at fault in a batch. ``details`` holds the further fields of
    the wire's error object (``expected``, ``epoch``, ``retry_after_ms``, ``version``).
    """

    code: ClassVar[str] = ""
    retry: ClassVar[bool] = False
    #: When it is sent, in the words of the protocol's table.
    when: ClassVar[str] = ""

    def __init__(self, message: str, *, row: int | None = None, **details: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.row = row
        self.details = details


class BadRequest(OmenError):
    """The message is not JSON, lacks a field, has an unknown one, or one of the wrong type."""

    code = "bad_request"
    when = "not JSON, missing or unknown field or op, wrong type"


class BadFrame(OmenError):
    """A binary message whose header or length is wrong."""

    code = "bad_frame"
    when = "binary header or length wrong"


class BadVector(OmenError):
    """A vector that is not a list of numbers."""

    code = "bad_vector"
    when = "not a list of numbers"


class DimMismatch(OmenError):
    """A vector of another dimension than the collection's."""

    code = "dim_mismatch"
    when = "as named"


class NonFinite(OmenError):
    """A vector with NaN or an infinity as float32, or with a norm above 2**62."""

    code = "non_finite"
    when = "as named"


class ZeroNorm(OmenError):
    """A vector with a norm below 2**-62 under ``cosine``."""

    code = "zero_norm"
    when = "as named"


class BadId(OmenError):
    """An id of the wrong type or length, or one where none may stand."""

    code = "bad_id"
    when = "as named"


class DuplicateId(OmenError):
    """The same id twice in one request."""

    code = "duplicate_id"
    when = "as named"


class BadK(OmenError):
    """``k`` is not an integer from 1 to ``max_k``."""

    code = "bad_k"
    when = "as named"


class BadFilter(OmenError):
    """A filter outside the grammar of PROTOCOL section 5."""

    code = "bad_filter"
    when = "as named"


class BadRank(OmenError):
    """A ``rank`` outside the grammar of PROTOCOL section 5; the message holds the path to it."""

    code = "bad_rank"
    when = "as named"


class BadName(OmenError):
    """A name of a collection or column outside PROTOCOL section 3."""

    code = "bad_name"
    when = "as named"


class BadMetadata(OmenError):
    """Metadata that is no object, or whose declared key has another type."""

    code = "bad_metadata"
    when = "as named"


class OutOfOrder(OmenError):
    """A producer's batch that is not the next one; ``expected`` says which is."""

    code = "out_of_order"
    when = "with `expected`"


class WrongEpoch(OmenError):
    """``from_seq`` of another epoch; ``epoch`` says the current one."""

    code = "wrong_epoch"
    when = "with `epoch`"


class NotFound(OmenError):
    """A collection, handle, subscription, or the id of ``like`` or ``update`` is not there."""

    code = "not_found"
    when = "collection, handle, subscription, id of `like` or `update`"


class Exists(OmenError):
    """The collection is there already and differs."""

    code = "exists"
    when = "it is there already and differs"


class Unsupported(OmenError):
    """This server or build cannot do that."""

    code = "unsupported"
    when = "this server or build cannot do that (say what)"


class TooLarge(OmenError):
    """Over a limit."""

    code = "too_large"
    when = "over a limit"


class Quota(OmenError):
    """Over a budget of the server or the tenant."""

    code = "quota"
    when = "over a budget of server or tenant"


class Unauthenticated(OmenError):
    """No token, or a bad one."""

    code = "unauthenticated"
    when = "no or bad token"


class Forbidden(OmenError):
    """A token without that right."""

    code = "forbidden"
    when = "a token without that right"


class StorageFailed(OmenError):
    """The log cannot be written or flushed; the outcome is unknown."""

    code = "storage_failed"
    when = "as named"


class Retryable(OmenError):
    """Nothing is wrong with the request: the same one may succeed later."""

    retry = True


class RateLimited(Retryable):
    """More than the connection, or its tenant, may send; ``retry_after_ms`` says when to go on."""

    code = "rate_limited"
    when = "with `retry_after_ms`"


class Overloaded(Retryable):
    """Shed: more to do than can be done in time; ``retry_after_ms`` says when to ask again."""

    code = "overloaded"
    when = "with `retry_after_ms`: shed, as there is more to do than can be done in time"


class StorageFull(Retryable):
    """The log's disk is full."""

    code = "storage_full"
    when = "as named"


class Unavailable(Retryable):
    """The collection is recovering or needs repair."""

    code = "unavailable"
    when = "the collection is recovering or needs repair"


class Behind(Retryable):
    """A window that has not come to ``min_version`` in time; ``version`` says where it is."""

    code = "behind"
    when = "`min_version` was not reached in time; with `version`"


class Draining(Retryable):
    """The server is leaving."""

    code = "draining"
    when = "the server is leaving"


class Internal(Retryable):
    """A fault of the server, logged under the reference in the message."""

    code = "internal"
    when = "a fault of the server, logged under the reference in the message"


def _leaves(cls: type[OmenError]) -> list[type[OmenError]]:
    found = [cls] if cls.code else []
    for child in cls.__subclasses__():
        found += _leaves(child)
    return found


#: code -> class, for every code of the protocol.
BY_CODE: dict[str, type[OmenError]] = {cls.code: cls for cls in _leaves(OmenError)}
