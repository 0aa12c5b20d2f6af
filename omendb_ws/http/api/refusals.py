"""Refusals: the status of each error code, and the one body that says what is wrong.

``{"error": {…}}`` holds the error object of PROTOCOL section 2.2, whoever refuses: the session, a
route, FastAPI, or what reads the socket. Knows no framework.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson
from omendb_core.model.errors import BY_CODE, BadRequest, Internal, NotFound, OmenError

from ...wire.text_replies import error_object

#: What is not here is bad input: 400.
STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "unauthenticated": 401,
        "forbidden": 403,
        "not_found": 404,
        "exists": 409,
        "out_of_order": 409,
        "wrong_epoch": 409,
        "too_large": 413,
        "rate_limited": 429,
        "quota": 429,
        "internal": 500,
        "storage_failed": 500,
        "unsupported": 501,
        "overloaded": 503,
        "unavailable": 503,
        "behind": 503,
        "draining": 503,
        "storage_full": 503,
    }
)
#: When to come again, where the refusal itself does not say: a budget is free again when somebody
#: has dropped something; a server that leaves is back, or another in its place, in seconds.
_RETRY_SECONDS: Final[Mapping[str, int]] = MappingProxyType(
    {"quota": 60, "rate_limited": 1, "overloaded": 1, "unavailable": 1, "behind": 1, "draining": 5,
     "storage_full": 60}
)  # fmt: skip
_BAD_INPUT: Final = 400


def status_of(code: str) -> int:
    """The HTTP status of an error code."""
    return STATUS.get(code, _BAD_INPUT)


class Refused(Exception):
    """A request is refused: ``fault`` is the error object; ``status``, if it is not the code's."""

    def __init__(
        self, fault: Mapping[str, Any], status: int | None = None, *headers: tuple[str, str]
    ) -> None:
        super().__init__(fault.get("message"))
        self.fault = fault
        self.code: str = fault["code"]
        self.status = status_of(self.code) if status is None else status
        self.headers = [*headers, *_more_headers(self.code, self.status, fault)]

    @classmethod
    def of(cls, error: OmenError, status: int | None = None, *headers: tuple[str, str]) -> Refused:
        """The refusal that tells of ``error``."""
        return cls(error_object(error), status, *headers)

    def renamed(self, before: str, after: str) -> Refused:
        """The same of a field that is called otherwise in what the client sent."""
        message = str(self.fault.get("message"))
        if not message.startswith(before):
            return self
        said = after + message.removeprefix(before)
        return Refused({**self.fault, "message": said}, self.status)

    @property
    def body(self) -> bytes:
        """What a client gets."""
        return orjson.dumps({"error": self.fault})


def nothing_here() -> Refused:
    """No route has this path."""
    return Refused.of(NotFound("path: there is nothing here; /docs lists what there is"))


def other_method(allowed: str) -> Refused:
    """The path is there, and takes other methods."""
    return Refused.of(BadRequest(f"method: only {allowed}"), 405, ("Allow", allowed))


def other_type(message: str) -> Refused:
    """A body of a kind that the route does not take."""
    return Refused.of(BadRequest(message), 415)


def unknown_outcome() -> Refused:
    """A change that was asked for, and not answered."""
    return Refused.of(
        Internal(
            "the session ended while this was under way: it may be done, or not. Before you repeat"
            " it, look; an add with an Idempotency-Key, or a producer and batch, is safe to repeat"
        )
    )


def _more_headers(code: str, status: int, fault: Mapping[str, Any]) -> list[tuple[str, str]]:
    if status == STATUS["unauthenticated"]:
        return [("WWW-Authenticate", "Bearer")]
    if code not in _RETRY_SECONDS:
        return []
    wait_ms = fault.get("retry_after_ms")
    seconds = math.ceil(wait_ms / 1000) if type(wait_ms) is int else _RETRY_SECONDS[code]
    return [("Retry-After", str(max(1, seconds)))]


assert STATUS.keys() <= BY_CODE.keys()
