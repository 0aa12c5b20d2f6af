"""``check-config``: what it says of tokens' library, and how its table looks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.server.tokens import SECRET

from .commands import omendb_ws

ROLE = """
jwt_secret_file = 'secret'

[jwt_roles.visitor]
rights = ["read", "write"]
collections = ["messages"]
filter = { owner = "${sub}" }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file of settings that take JSON Web Tokens."""
    (tmp_path / "secret").write_bytes(SECRET)
    path = tmp_path / "omendb.toml"
    path.write_text(ROLE)
    return path


@pytest.fixture
def without_pyjwt(tmp_path: Path) -> str:
    """A folder for PYTHONPATH in which PyJWT cannot be found."""
    folder = tmp_path / "hiding"
    folder.mkdir()
    (folder / "jwt.py").write_text("raise ModuleNotFoundError('no jwt', name='jwt')")
    return str(folder)


@pytest.mark.parametrize("keys", ["jwt_secret_file = 'secret'", "jwt_keys = 'secret'", "by url"])
@pytest.mark.parametrize(
    "command", [["check-config"], ["serve", "--port", "0"], ["check-token", "a.b.c"]]
)
def test_json_web_tokens_without_their_library_are_a_line_and_exit_code_2(
    command: list[str], keys: str, config: Path, without_pyjwt: str
) -> None:
    by_url = "jwt_jwks_url = 'https://127.0.0.1:9/keys'\njwt_audience = 'us'"
    config.write_text(by_url if keys == "by url" else keys)
    finished = omendb_ws(
        *command, "--config", str(config), PYTHONPATH=without_pyjwt, OMENDB_LOG_LEVEL="warning"
    )
    assert finished.returncode == 2
    pip = f"{sys.executable} -m pip"  # of the interpreter that lacks it
    assert finished.stderr.splitlines() == [
        f"omendb-ws: JSON Web Tokens need the extra jwt: {pip} install 'omendb-ws[jwt]'"
    ]


@pytest.mark.parametrize(
    "command", [["check-config"], ["serve", "--port", "0"], ["demo", "--port", "0"]]
)
def test_the_http_api_without_what_it_needs_is_a_line_and_exit_code_2(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('none', name='fastapi')")
    finished = omendb_ws(
        *command, "--http-port", "0", PYTHONPATH=str(tmp_path), OMENDB_LOG_LEVEL="warning"
    )
    assert finished.returncode == 2
    pip = f"{sys.executable} -m pip"  # of the interpreter that lacks it
    assert finished.stderr.splitlines() == [
        f"omendb-ws: the HTTP API needs the extra http: {pip} install 'omendb-ws[http]'"
    ]


def test_a_long_value_does_not_push_all_sources_out_of_the_table(config: Path) -> None:
    finished = omendb_ws("check-config", "--config", str(config))
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    (roles,) = (line for line in lines if line.startswith("jwt_roles "))
    assert roles.endswith(f"  file {config}")
    assert len(roles) > 100
    (port,) = (line for line in lines if line.startswith("port "))
    assert len(port) < 100
