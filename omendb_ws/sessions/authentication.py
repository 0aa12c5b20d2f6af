"""The op ``auth``: a token, and what becomes of the connection (PROTOCOL sections 1 and 9).

A newer token of the same tenant takes the place of the one before; subscriptions that it does not
allow end. A token of another tenant is refused, and the connection goes on as it was; one that is
nobody's closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from omendb_core.model.errors import Forbidden, Overloaded, Quota, Unauthenticated

from ..access.gate import Refused
from ..access.principal import Principal
from ..wire import messages as wire
from .identity import Identity
from .long_work import Steps
from .session import Session
from .standing_streams import MADE_AT_ONCE, in_pieces
from .subscriptions.ending import forbidden_of


def authenticate(session: Session, request: wire.Auth, size: int) -> None:
    """Answer ``auth``; where newer keys may know the token, when those have been fetched."""
    context = session.context
    found = context.gate.look(request.token)
    if isinstance(found, Refused) and found.unknown_kid is not None:
        resume = session.holds.begin(size).end
        if not context.newer_keys(lambda: _again(session, request, size, resume)):
            _again(session, request, size, resume)
        return
    _become(session, request, found, size)


def _again(session: Session, request: wire.Auth, size: int, resume: Callable[[], None]) -> None:
    try:
        if session.lane.is_open:
            _become(session, request, session.context.gate.look(request.token), size)
    except Exception as error:
        session.refuse(request.id, b"", error, request.op)
    finally:
        resume()


def _become(session: Session, request: wire.Auth, found: Principal | Refused, size: int) -> None:
    before = session.principal
    if isinstance(found, Refused):
        refuse_token(session, request.id, found.reason)
        return
    if before is not None and found.tenant != before.tenant:
        raise Forbidden("token: of another tenant than this connection's; connect anew")
    if before is None or found.grants == before.grants:
        _take(session, request, found, size)
        return
    # What was read under the old grants is answered before the reply, and nothing after it.
    resume = session.holds.begin(size).end

    def answered() -> None:
        try:
            now = _still(session, found)
            if now is None:
                refuse_token(session, request.id, "its key went while it waited")
            else:
                _take(session, request, now, size)
        except Exception as error:
            session.refuse(request.id, b"", error, request.op)
        finally:
            resume()

    session.when_answered(answered)


def _still(session: Session, principal: Principal) -> Principal | None:
    """The principal with the grants of now; None if its key is gone, or another tenant's."""
    now = session.context.gate.again(principal)
    return None if now is None or now.tenant != principal.tenant else now


def _take(session: Session, request: wire.Auth, found: Principal, size: int) -> None:
    before = session.principal
    try:
        session.become(found)
    except (Overloaded, Quota) as error:
        refuse_place(session, request.id, error, found)
        return
    if not session.context.gate.is_open:
        session.context.logins.succeeded(found, session.peer, is_new=found != before)
    end_forbidden(session, size, lambda: session.ok(request.id, described(session.who)), request)


def refuse_token(session: Session, request_id: int | None, reason: str) -> None:
    """Answer a wrong token, later the more there were, and close; till then it is not heard.

    ``reason`` is for the log alone.
    """
    session.is_refused = True
    seconds = session.context.logins.failed(session.peer, reason)
    said = "the token is not known" if request_id is None else "token: not known"

    def refuse() -> None:
        session.error(request_id, Unauthenticated(said))
        session.outbox.close(4401, "unauthenticated")

    if seconds:
        session.refusal = asyncio.get_running_loop().call_later(seconds, refuse)
    else:
        refuse()


def refuse_place(
    session: Session, request_id: int | None, error: Overloaded | Quota, principal: Principal
) -> None:
    """Say that there is no place for one more connection, ``principal``'s, and close."""
    session.is_refused = True
    session.error(request_id, error)
    session.outbox.close(1013, error.message.partition(":")[0])
    session.context.audit.enter("auth", error.code, principal, session.peer)


def end_forbidden(
    session: Session, size: int, then: Callable[[], None], request: wire.Auth | None
) -> None:
    """End the subscriptions that the principal of now does not allow, and go on.

    Other nodes that answer this client do so first.
    """
    end = partial(_end_forbidden_here, session, size, then, request)
    if session.routes is None or session.principal is None:
        end()
    else:
        session.routes.tell(session.principal, end)


def _end_forbidden_here(
    session: Session, size: int, then: Callable[[], None], request: wire.Auth | None
) -> None:
    ending = forbidden_of(session.subscriptions.values(), session.principal)
    if ending:
        session.outbox.drop_pushes(set(ending))
    if len(ending) < MADE_AT_ONCE:
        for one in ending:
            one.end("forbidden")
        then()
        return

    def steps() -> Steps:
        yield from in_pieces(ending, lambda one: one.end("forbidden"))
        then()

    number, op = (None, "auth") if request is None else (request.id, request.op)
    session.holds.do(steps(), size, lambda error: session.refuse(number, b"", error, op))


def look_again(session: Session) -> None:
    """Keys have changed: go on with the grants of now, or close if the key is gone."""
    principal = session.principal
    if principal is None or not session.lane.is_open or session.is_vouched:
        return
    now = _still(session, principal)
    if now is None:
        session.is_refused = True
        session.refuse_connection("the key of this token is not there any more")
    elif now != principal:
        session.who.become(now)
        end_forbidden(session, 0, lambda: None, None)


def described(who: Identity) -> dict[str, Any]:
    """What ``auth`` and ``hello`` say of a principal."""
    principal = who.known()
    left = who.expires_in_seconds
    return {
        "rights": sorted(principal.rights),
        "tenant": principal.tenant,
        "grants": [grant.as_json() for grant in principal.grants],
        "expires_in_s": None if left is None else round(left, 3),
    }
