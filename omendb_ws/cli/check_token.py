"""``omendb-ws check-token``: who a token is to a server of these settings, and what it may do."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options, reaching
from .failure import FAILED, WRONG, fail, failing, say
from .loading import load_settings
from .output import table

if TYPE_CHECKING:
    from ..access.gate import Gate
    from ..access.principal import Principal
    from ..node.config import Settings


def check_token(
    token: Annotated[str, typer.Argument(help="The token, or - to read it from standard input.")],
    config: options.ConfigFile = None,
    api_key_file: options.ApiKeyFile = None,
    as_json: reaching.Json = False,
) -> None:
    """Say who a token is, by the keys of a server's settings, and what it may do; or why not.

    Nothing is asked of a server. The exit code is 1 for a token that is nobody's. An argument shows
    in lists of processes: on a machine that others use, give the token on standard input.

    \b
    Example:
      omendb-ws check-token - --config omendb.toml < token.txt
    """
    from ..access.gate import Refused

    settings = load_settings(options.given(config_file=config, api_key_file=api_key_file)).settings
    if not settings.needs_tokens:
        fail(WRONG, "check-token: these settings take no tokens; name keys by --config or a flag")
    text = sys.stdin.read(1 << 16).strip() if token == "-" else token
    gate = _gate(settings)
    found = gate.look(text)
    if isinstance(found, Refused):
        if _is_file(token):
            fail(
                WRONG,
                "check-token: that is the name of a file, not a token; give - and its text on"
                " standard input",
            )
        fail(FAILED, f"nobody's: {found.reason}")
    say(*_not_granted(gate, text))
    # A token's end is that of its exp and the leeway; without rules there is none that ends.
    leeway_seconds = gate.rules.leeway_seconds if gate.rules is not None else 0.0
    described = _described(found, leeway_seconds)
    print(json.dumps(described, indent=2) if as_json else _as_table(described))


def _is_file(token: str) -> bool:
    try:
        return os.path.isfile(token)
    except ValueError:  # a NUL in it
        return False


def _gate(settings: Settings) -> Gate:
    """What lets tokens in, with the keys of now."""
    from ..access import jwks_url
    from ..access.gate import Gate
    from ..access.jwt_keys import KeySetError
    from ..access.keyring import KeyFileError, Keyring
    from ..node.keys import read_jwt_keys, rules_of

    with failing(KeyFileError):
        keyring = Keyring.load(settings.api_key_file) if settings.api_key_file else None
        jwt_keys = read_jwt_keys(settings)
    if settings.jwt_jwks_url is not None:
        try:
            jwt_keys = jwks_url.fetch(settings.jwt_jwks_url)
        except KeySetError as error:
            fail(FAILED, f"jwt_jwks_url {settings.jwt_jwks_url} {error}")
    return Gate(False, keyring, jwt_keys, rules_of(settings))


def _not_granted(gate: Gate, token: str) -> list[str]:
    """What a token's roles do not give it, which a server says nothing of."""
    from ..access.jwt_tokens import is_jwt, roles_not_granted

    if gate.rules is None or not is_jwt(token):
        return []
    lines = []
    for role, claim in roles_not_granted(token, gate.rules):
        shown = repr(role[:64])
        if claim is None:
            lines.append(f"its role {shown} is not among jwt_roles, and grants nothing")
        else:
            lines.append(f"its role {shown} has a grant that needs the claim {claim!r}")
    return lines


def _described(found: Principal, leeway_seconds: float) -> dict[str, Any]:
    """``exp_in_s``: until what the token says, which may be past; ``expires_in_s``: until it is
    taken no more."""
    left = None if found.expires_at is None else found.expires_at - time.time()
    return {
        "name": found.name,
        "tenant": found.tenant,
        "grants": [grant.as_json() for grant in found.grants],
        "operator": found.is_operator,
        "exp_in_s": None if left is None else round(left - leeway_seconds),
        "expires_in_s": None if left is None else max(0, round(left)),
    }


def _end(exp_in_s: int | None, expires_in_s: int | None) -> str:
    if exp_in_s is None or expires_in_s is None:
        return "expires never"
    if exp_in_s > 0:
        return f"expires in {exp_in_s} s, and is taken for {expires_in_s - exp_in_s} s more"
    return f"expired {-exp_in_s} s ago, and is taken for {expires_in_s} s more (jwt_leeway_seconds)"


def _as_table(said: dict[str, Any]) -> str:
    end = _end(said["exp_in_s"], said["expires_in_s"])
    lines = [f"{said['name']} of tenant {said['tenant']}; {end}"]
    if said["operator"]:
        lines.append("operator: may see the whole server")
    if not said["grants"]:
        most = "nothing else" if said["operator"] else "nothing"
        return "\n".join([*lines, f"no grants: it may do {most}"])
    rows = [
        (
            ", ".join(grant["collections"]),
            ", ".join(grant["rights"]),
            json.dumps(grant["filter"]) if "filter" in grant else "all",
            json.dumps(grant["stamp"]) if "stamp" in grant else "",
        )
        for grant in said["grants"]
    ]
    return "\n".join([*lines, table(("collections", "rights", "rows", "stamp"), rows, "llll")])
