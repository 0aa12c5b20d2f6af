"""Settings: which source wins, what is refused, and in which words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from omendb_ws.net.server import Server
from omendb_ws.node.config import PATH_FIELDS, Settings
from omendb_ws.node.settings_sources import SettingsError, allowed, flag, load
from omendb_ws.runtime import machine, toml_files
from omendb_ws.wire.limits import LIMITS, Limits

TLS_FILES = ("tls_certificate_file", "tls_key_file")
#: Settings that only their default is right for while all others have theirs.
ONE_VALUE_ALONE = {
    "cluster", "default_durability", "jwt_jwks_url", "jwt_roles", "proxy_protocol", *TLS_FILES,
}  # fmt: skip


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "omendb.toml"
    path.write_text(text)
    return path


def problems(flags: dict[str, Any] | None = None, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(flags, environment)
    return caught.value.problems


def test_flags_go_before_the_environment_that_before_the_file_that_before_defaults(
    tmp_path: Path,
) -> None:
    path = toml(tmp_path, "max_k = 1\nmax_ids = 2\nmax_rows = 3\nport = 4")
    environment = {"OMENDB_MAX_IDS": "20", "OMENDB_MAX_ROWS": "30", "OMENDB_PORT": "40"}
    loaded = load({"config_file": str(path), "max_rows": 300, "port": 0}, environment)
    settings, sources = loaded.settings, loaded.sources
    assert (settings.max_k, sources["max_k"]) == (1, f"file {path}")
    assert (settings.max_ids, sources["max_ids"]) == (20, "environment OMENDB_MAX_IDS")
    assert (settings.max_rows, sources["max_rows"]) == (300, "flag --max-rows")
    assert (settings.port, sources["port"]) == (0, "flag --port")
    assert (settings.max_dim, sources["max_dim"]) == (4096, "default")
    assert sources["config_file"] == "flag --config"
    assert sources.keys() == Settings.model_fields.keys()


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = toml(tmp_path, "max_k = 7")
    loaded = load({}, {"OMENDB_CONFIG_FILE": str(path)})
    assert loaded.settings.max_k == 7
    assert loaded.settings.config_file == str(path)


def test_flags_that_were_not_given_take_nothing_away() -> None:
    assert load({"port": None}, {"OMENDB_PORT": "1"}).settings.port == 1


def test_settings_made_in_a_program_do_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMENDB_PORT", "1")
    assert Settings().port == 8765


def test_unknown_names_in_the_file_are_named(tmp_path: Path) -> None:
    path = toml(tmp_path, "prot = 1\nmax_k = 1\n[server]\nport = 1\nconfig_file = 'x'")
    found = problems({"config_file": str(path)})
    none = f"({path}): there is no such setting"
    assert found == [f"prot {none} (did you mean port?)", f"server {none}"]


def test_the_file_cannot_name_another_file(tmp_path: Path) -> None:
    path = toml(tmp_path, "config_file = 'other.toml'")
    assert problems({"config_file": str(path)}) == [
        f"config_file ({path}): there is no such setting"
    ]


def test_an_unknown_variable_is_a_warning_but_not_those_of_other_parts() -> None:
    loaded = load({}, {"OMENDB_PROT": "1", "OMENDB_KERNEL": "reference", "HOME": "/"})
    assert loaded.warnings == (
        "environment OMENDB_PROT: there is no such setting (did you mean OMENDB_PORT?); ignored",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"port = ", "not TOML: Invalid value"),
        (b"max_k = 1\nname = '\xff'", "not UTF-8 text: invalid start byte at byte 18"),
        (b"a = 1\na = 2", "overwrite"),
        (b"max_k = " + b"9" * 5000, "not TOML: "),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        ("max_k = 1".encode("utf-16"), "not UTF-8 text"),
        (b"\0", "not TOML: "),
        (b"#" * (toml_files.MAX_BYTES + 1), "longer than 4 MiB"),
    ],
)
def test_a_file_that_is_not_toml_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "omendb.toml"
    path.write_bytes(content)
    (problem,) = problems({"config_file": str(path)})
    assert problem.startswith(f"config_file {path}: ")
    assert said in problem
    assert "\n" not in problem


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.toml")
    assert problems({"config_file": missing}) == [
        f"config_file {missing}: No such file or directory"
    ]


def test_a_directory_and_an_endless_file_are_no_settings(tmp_path: Path) -> None:
    assert problems({"config_file": str(tmp_path)}) == [f"config_file {tmp_path}: Is a directory"]
    assert problems({"config_file": "/dev/zero"}) == ["config_file /dev/zero: longer than 4 MiB"]
    assert problems({"config_file": "a\0b"})[0].startswith("config_file a")


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "omendb.toml"
    path.write_bytes(b"\xef\xbb\xbfmax_k = 7\r\nmax_ids = 8\r\n")
    loaded = load({"config_file": str(path)}, {})
    assert (loaded.settings.max_k, loaded.settings.max_ids) == (7, 8)


def test_what_is_wrong_in_the_file_hides_nothing_that_is_wrong_elsewhere(tmp_path: Path) -> None:
    path = toml(tmp_path, 'prot = 1\nmax_k = 0\ntls_key_file = "no.pem"\n"a\\nb" = 1')
    found = problems({"config_file": str(path), "port": "http"}, OMENDB_MAX_IDS="-1")
    assert sorted(found) == [
        f"'a\\nb' ({path}): there is no such setting",
        "max_ids = -1 (environment OMENDB_MAX_IDS): must be an integer from 1",
        f"max_k = 0 (file {path}): must be an integer from 1",
        "port = 'http' (flag --port): must be an integer from 0 to 65535",
        f"prot ({path}): there is no such setting (did you mean port?)",
        f"tls_key_file = {str(tmp_path / 'no.pem')!r} (file {path}): No such file or directory",
        f"tls_key_file = {str(tmp_path / 'no.pem')!r} (file {path}): TLS needs both files:"
        " tls_certificate_file is not set",
    ]
    path.write_text("port = ")
    found = problems({"config_file": str(path)}, OMENDB_MAX_IDS="-1")
    assert [line.split()[0] for line in found] == ["config_file", "max_ids"]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_not_set(name: str, tmp_path: Path) -> None:
    variable = f"OMENDB_{name.upper()}"
    loaded = load({}, {variable: ""})
    assert loaded.sources[name] == "default"
    assert getattr(loaded.settings, name) == getattr(Settings(), name)
    path = toml(tmp_path, "max_k = 7\nhost = '127.0.0.2'")
    loaded = load({"config_file": str(path)}, {"OMENDB_MAX_K": "", "OMENDB_HOST": ""})
    assert (loaded.settings.max_k, loaded.settings.host) == (7, "127.0.0.2")


@pytest.mark.parametrize("name", ["host", *PATH_FIELDS])
@pytest.mark.parametrize("value", ["", "a\0b"])
def test_an_empty_name_or_one_with_a_nul_is_refused(name: str, value: str, tmp_path: Path) -> None:
    path = toml(tmp_path, f"{name} = {json.dumps(value)}")
    for found in (problems({"config_file": str(path)}), problems({name: value})):
        assert found[0].startswith(f"{name} = ")
        assert allowed(name) in found[0]


def test_the_link_to_a_service_of_kubernetes_is_no_port() -> None:
    loaded = load(
        {},
        {"OMENDB_PORT": "tcp://10.96.0.12:8765", "OMENDB_SERVICE_HOST": "10.96.0.12",
         "OMENDB_PORT_8765_TCP_ADDR": "10.96.0.12"},
    )  # fmt: skip
    assert loaded.settings.port == 8765
    port, address, host = loaded.warnings
    assert "Kubernetes" in port
    assert "tcp://10.96.0.12:8765" in port
    assert ("OMENDB_PORT_8765_TCP_ADDR" in address, "OMENDB_SERVICE_HOST" in host) == (True, True)
    assert problems({"port": "tcp://10.96.0.12:8765"})[0].startswith("port = 'tcp://")


def test_a_value_of_any_length_is_shown_in_one_line(tmp_path: Path) -> None:
    path = toml(tmp_path, f"max_k = 0x{'f' * 8000}\nlog_level = '{'x' * 5000}'")
    found = problems({"config_file": str(path)}, OMENDB_MAX_IDS="9" * 5000)
    assert len(found) == 3
    assert all(len(line) < 300 and "\n" not in line for line in found)


def test_everything_wrong_is_told_at_once_one_line_a_field_with_its_source(
    tmp_path: Path,
) -> None:
    path = toml(tmp_path, "max_k = 0\nmax_dim = 2.0\nlog_level = 'loud'")
    found = problems(
        {"config_file": str(path), "port": 70_000},
        OMENDB_DRAIN_SECONDS="nan",
        OMENDB_MAX_ROWS="many",
    )
    assert sorted(found) == [
        "drain_seconds = nan (environment OMENDB_DRAIN_SECONDS): must be a number from 0 to 86400",
        f"log_level = 'loud' (file {path}): must be one of debug, info, warning, error",
        f"max_dim = 2.0 (file {path}): must be an integer from 1",
        f"max_k = 0 (file {path}): must be an integer from 1",
        "max_rows = 'many' (environment OMENDB_MAX_ROWS): must be an integer from 1",
        "port = 70000 (flag --port): must be an integer from 0 to 65535",
    ]


@pytest.mark.parametrize("name", [*LIMITS, "queue_deadline_ms"])
@pytest.mark.parametrize("value", [0, -1, True, 1.0, 1.5, "10", None, 2**53, [1]])
def test_counts_are_positive_integers(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({name: value})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize("text", [" ", "1.0", "0x10", "1e3", "10 MiB", "true", "-1"])
def test_a_variable_that_is_no_count_is_refused(text: str) -> None:
    (problem,) = problems(OMENDB_MAX_K=text)
    assert problem.startswith("max_k = ")


@pytest.mark.parametrize(
    "name", sorted(Settings.model_fields.keys() - {"config_file", "jwt_roles"})
)
def test_every_setting_refuses_a_value_of_another_type_in_one_line(
    name: str, tmp_path: Path
) -> None:
    path = toml(tmp_path, f"{name} = {{ a = 1 }}")
    (problem,) = problems({"config_file": str(path)})
    assert problem.startswith(f"{name} = {{'a': 1}} (file {path}): must be ")
    assert allowed(name) in problem


def test_tables_of_roles_are_checked_and_no_variable_can_hold_them(tmp_path: Path) -> None:
    path = toml(tmp_path, "[jwt_roles.visitor]\nrights = ['read']")
    assert load({"config_file": str(path)}, {}).settings.jwt_roles["visitor"]["rights"] == ["read"]
    for wrong in ("visitor = 1", "visitor = {}", "visitor = { rights = ['all'] }"):
        (problem,) = problems({"config_file": str(toml(tmp_path, f"jwt_roles.{wrong}"))})
        assert problem.startswith("jwt_roles = ")
        assert "jwt_roles.visitor" in problem
    (problem,) = problems(OMENDB_JWT_ROLES="visitor")
    assert "must be tables" in problem


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"jwt_keys": "FILE", "jwt_secret_file": "FILE"}, "jwt_secret_file"),
        ({"jwt_keys": "FILE", "jwt_jwks_url": "https://a", "jwt_audience": "b"}, "jwt_secret_file"),
        ({"jwt_jwks_url": "https://a"}, "jwt_audience"),
        ({"jwt_jwks_url": "http://a", "jwt_audience": "b"}, "jwt_secret_file"),
        ({"jwt_jwks_url": "ftp://localhost", "jwt_audience": "b"}, "jwt_secret_file"),
        ({"jwt_keys": "FILE", "jwt_algorithms": "HS256"}, "jwt_algorithms"),
        ({"jwt_secret_file": "FILE", "jwt_algorithms": "RS256"}, "jwt_algorithms"),
        ({"jwt_keys": "FILE", "jwt_algorithms": "none"}, "jwt_algorithms"),
    ],
)
def test_keys_for_tokens_that_do_not_go_together_are_refused(
    flags: dict[str, str], named: str, tmp_path: Path
) -> None:
    readable = tmp_path / "file"
    readable.write_text("")
    given = {name: value.replace("FILE", str(readable)) for name, value in flags.items()}
    (problem,) = problems(given)
    assert problem.startswith(named)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"cluster": "nats://a:1"}, "node_name"),
        ({"cluster": "http://a:1", "node_name": "one"}, "cluster"),
        ({"cluster": "nats://a:1,", "node_name": "one"}, "cluster"),
        ({"cluster": "nats://a:1 nats://b:1", "node_name": "one"}, "cluster"),
        ({"cluster": "nats://a:1", "node_name": "one", "data_dir": "x"}, "cluster"),
        ({"cluster": "nats://a:1", "node_name": "o.n.e"}, "node_name"),
        ({"cluster": "nats://a:1", "node_name": "one", "cluster_name": "a b"}, "cluster_name"),
        ({"cluster": "nats://a:1", "node_name": "one", "advertise": "host:1"}, "advertise"),
        ({"cluster": "nats://a:1", "node_name": "one", "advertise": "ws://a:1"}, "advertise"),
        (
            {"cluster": "nats://a:1", "node_name": "one", "default_durability": "always"},
            "default_durability",
        ),
        (
            {"cluster": "nats://a:1", "node_name": "one", "cluster_monitors": "nats://a:8222"},
            "cluster_monitors",
        ),
    ],
)
def test_settings_of_a_cluster_that_do_not_go_together_are_refused(
    flags: dict[str, str], named: str
) -> None:
    (problem,) = problems(flags)
    assert problem.startswith(named)


def test_a_cluster_needs_no_data_directory_and_is_durable() -> None:
    settings = Settings(cluster="nats://a:4222,tls://b:4222", node_name="one")
    assert (settings.default_durability, settings.cluster_name) == ("everysec", "main")


@pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - ONE_VALUE_ALONE))
def test_every_setting_can_come_from_the_environment(name: str, tmp_path: Path) -> None:
    # Each with a value that is right for it and not the default.
    readable = tmp_path / "file"
    readable.write_text("")
    special = {
        "host": "127.0.0.2",
        "config_file": str(readable),
        "data_dir": str(tmp_path),
        "allow_origins": "http://a",
        "trusted_proxies": "10.0.0.0/8,::1",
        "api_key_file": str(readable),
        "jwt_keys": str(readable),
        "jwt_secret_file": str(readable),
        "tenants_file": str(readable),
        "jwt_algorithms": "ES256",
        "jwt_tenant_claim": "org",
        "jwt_grants_claim": "may",
        "http_port": "17",
        "trace_sample_ratio": "0.5",
        "cluster_name": "red",
        "cluster_credentials": str(readable),
        "cluster_ca_file": str(readable),
        "node_name": "one",
        "advertise": "ws://host:1/v1",
        "cluster_monitors": "http://host:8222",
    }
    annotation: Any = Settings.model_fields[name].annotation
    choices = get_args(annotation)
    if name in special:
        text = special[name]
    elif annotation in (int, float):
        text = "17"
    else:
        text = str(choices[-1])
    loaded = load({}, {f"OMENDB_{name.upper()}": text})
    assert loaded.sources[name] == f"environment OMENDB_{name.upper()}"
    assert getattr(loaded.settings, name) != Settings.model_fields[name].default


def test_the_limits_are_those_of_the_wire_by_name_and_default() -> None:
    settings = Settings(max_memory_bytes=LIMITS["max_memory_bytes"].default)
    assert settings.limits() == Limits()
    mine = {name for name in Settings.model_fields if name.startswith("max_")}
    known = {"max_messages_per_second", "max_metrics_collections", "max_tenants"}
    assert mine - LIMITS.keys() == known


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_reaches_the_wire(name: str) -> None:
    settings = Settings.model_validate({name: 12_345})
    assert getattr(settings.limits(), name) == 12_345
    others = {other: getattr(settings.limits(), other) for other in LIMITS if other != name}
    assert others == {other: getattr(Settings().limits(), other) for other in others}


def test_every_setting_says_what_it_is_and_what_it_takes() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert allowed(name)
        assert flag(name).startswith("--")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="prot"):
        Settings(prot=1)  # type: ignore[call-arg]
    assert problems({"prot": 1}) == ["prot: there is no such setting (did you mean port?)"]


# -- durability -------------------------------------------------------------------------------


def test_a_data_directory_makes_everysec_the_default() -> None:
    assert Settings().default_durability == "memory"
    assert Settings(data_dir="/tmp").default_durability == "everysec"
    assert Settings(data_dir="/tmp", default_durability="memory").default_durability == "memory"
    assert load({"data_dir": "/tmp"}, {}).sources["default_durability"] == "default"


@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_durability_other_than_memory_needs_a_data_directory(durability: str) -> None:
    (problem,) = problems(OMENDB_DEFAULT_DURABILITY=durability)
    assert "unsupported" in problem
    assert "data_dir" in problem
    chosen = {"OMENDB_DEFAULT_DURABILITY": durability, "OMENDB_DATA_DIR": "/tmp"}
    assert load({}, chosen).settings.default_durability == durability


# -- who may reach it -------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LocalHost", "::1"])
def test_an_open_server_may_listen_on_loopback(host: str) -> None:
    assert Settings(host=host).allow_origins == ()


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.1.1", "example.com", "localhost.evil.com", "127.0.0.1.evil.com",
     "1::127.0.0.1", "fe80::1", "localhost:80", "127.0.0.1@evil.com", "*"],
)  # fmt: skip
def test_an_open_server_that_others_reach_needs_its_origins_named(
    host: str, tmp_path: Path
) -> None:
    (problem,) = problems({"host": host})
    assert problem.startswith(f"allow_origins (default): host {host} is reachable")
    assert load({"host": host, "allow_origins": ["http://a"]}, {}).settings.host == host
    keys = tmp_path / "keys.toml"
    keys.write_text("")
    assert load({"host": host, "api_key_file": str(keys)}, {}).settings.host == host


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://a", "http://a"),
        ("HTTPS://Example.COM:443", "https://example.com"),
        ("http://a:8080", "http://a:8080"),
        ("https://a:80", "https://a:80"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://[0:0::1]:9", "http://[::1]:9"),
        ("http://a.", "http://a"),
    ],
)
def test_origins_are_kept_as_browsers_write_them(given: str, kept: str) -> None:
    assert Settings(allow_origins=[given]).allow_origins == (kept,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "origin",
    ["*", "", "null", "a", "a.com", "http://", "http://a/", "http://a/b", "ws://a", "file://",
     "http://u@a", "http://a:0", "http://a:65536", "http://a:", "http://*.a", "http://a b",
     "http://a?b", "http://a#b", "http://[::1", "http://::1", "javascript://a", "http:///a"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin: str) -> None:
    (problem,) = problems({"allow_origins": ["http://good", origin]})
    assert f"{origin!r} is no origin" in problem
    assert "http(s)://host" in problem


def test_origins_are_a_list_in_the_file_and_split_at_commas_in_the_environment(
    tmp_path: Path,
) -> None:
    path = toml(tmp_path, 'allow_origins = ["http://a", "http://b"]')
    expected = ("http://a", "http://b")
    assert load({"config_file": str(path)}, {}).settings.allow_origins == expected
    found = load({}, {"OMENDB_ALLOW_ORIGINS": " http://a , http://b,"})
    assert found.settings.allow_origins == expected
    path = toml(tmp_path, 'allow_origins = "http://a"')
    (problem,) = problems({"config_file": str(path)})
    assert "must be a list of http(s)://host[:port]" in problem


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "missing"), [TLS_FILES, TLS_FILES[::-1]])
def test_tls_needs_both_files(given: str, missing: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pem"
    path.write_text("")
    (problem,) = problems({given: str(path)})
    assert problem.endswith(f"TLS needs both files: {missing} is not set")


def test_files_that_cannot_be_read_are_named_with_their_source(tmp_path: Path) -> None:
    found = problems(
        {"tls_certificate_file": str(tmp_path), "tls_key_file": str(tmp_path / "key.pem")},
        OMENDB_API_KEY_FILE="missing.toml",
    )
    assert found == [
        "api_key_file = 'missing.toml' (environment OMENDB_API_KEY_FILE):"
        " No such file or directory",
        f"tls_certificate_file = {str(tmp_path)!r} (flag --tls-certificate-file): Is a directory",
        f"tls_key_file = {str(tmp_path / 'key.pem')!r} (flag --tls-key-file):"
        " No such file or directory",
    ]


def test_the_name_of_a_file_is_shown_whole(tmp_path: Path) -> None:
    path = "/".join([str(tmp_path), *["a long name of a directory"] * 8, "keys.toml"])
    assert problems({"api_key_file": path}) == [
        f"api_key_file = {path!r} (flag --api-key-file): No such file or directory"
    ]


def test_names_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text("")
    path = toml(tmp_path, "api_key_file = 'keys.toml'")
    loaded = load({"config_file": str(path)}, {})
    assert loaded.settings.api_key_file == str(tmp_path / "keys.toml")
    absolute = tmp_path / "keys.toml"
    path = toml(tmp_path, f"api_key_file = '{absolute}'")
    assert load({"config_file": str(path)}, {}).settings.api_key_file == str(absolute)


# -- memory -----------------------------------------------------------------------------------


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_default_budget_is_seventy_percent_of_the_machine() -> None:
    assert Settings().max_memory_bytes == machine.memory_bytes() * 70 // 100
    assert Settings().limits().max_memory_bytes == Settings().max_memory_bytes
    assert Settings(max_memory_bytes=1).max_memory_bytes == 1


def test_a_lower_limit_of_the_control_group_or_a_parent_counts(tmp_path: Path) -> None:
    physical = machine.memory_bytes(tmp_path)
    write(tmp_path, "proc/self/cgroup", "0::/outer/inner\n")
    assert machine.memory_bytes(tmp_path) == physical
    write(tmp_path, "sys/fs/cgroup/outer/inner/memory.max", "max\n")
    assert machine.memory_bytes(tmp_path) == physical
    write(tmp_path, "sys/fs/cgroup/outer/inner/memory.max", "3000000\n")
    assert machine.memory_bytes(tmp_path) == 3_000_000
    write(tmp_path, "sys/fs/cgroup/outer/memory.max", "2000000\n")
    assert machine.memory_bytes(tmp_path) == 2_000_000
    write(tmp_path, "sys/fs/cgroup/memory.max", "1000000\n")
    assert machine.memory_bytes(tmp_path) == 1_000_000


def test_the_first_version_of_control_groups_counts_too(tmp_path: Path) -> None:
    physical = machine.memory_bytes(tmp_path)
    write(tmp_path, "proc/self/cgroup", "12:cpu,cpuacct:/a\n5:memory:/docker/x\n1:name=systemd:/\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    assert machine.memory_bytes(tmp_path) == physical
    write(tmp_path, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "4000000\n")
    assert machine.memory_bytes(tmp_path) == 4_000_000


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "0:", "0::", "0::/../..\n", "a:b:c:d"])
def test_strange_control_groups_change_nothing(tmp_path: Path, text: str) -> None:
    physical = machine.memory_bytes(tmp_path)
    write(tmp_path, "proc/self/cgroup", text)
    assert machine.memory_bytes(tmp_path) == physical


def test_a_system_that_does_not_tell_its_memory_still_has_a_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(_: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(machine.os, "sysconf", unknown)
    assert machine.memory_bytes(tmp_path) == machine.UNKNOWN_MEMORY_BYTES


def test_numbers_have_their_units_in_their_names() -> None:
    # Counts of things need none.
    things = (
        "port dim capacity rows k queries ids inflight subscriptions connections collections"
        " tenants"
    )
    counted = re.compile(
        r"(port|scan_threads|idempotency_keys|http_default_capacity|max_(server_)?\w*("
        + things.replace(" ", "|")
        + r"|producers))$"
    )
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            has_unit = name.endswith(("_bytes", "_seconds", "_ms", "_per_second", "_ratio"))
            assert has_unit or counted.fullmatch(name), name


def test_problems_are_the_message_of_the_error() -> None:
    error = SettingsError(["one", "two"])
    assert str(error) == "one\ntwo"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "db.example"])
def test_a_server_without_keys_that_others_reach_is_a_warning(host: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("")
    origins = ("https://app.example",)
    (warning,) = Settings(host=host, allow_origins=origins).warnings()
    assert host in warning
    assert "api_key_file" in warning
    assert Settings(host=host, api_key_file=str(keys)).warnings() == ()
    assert Settings(host="127.0.0.1", allow_origins=origins).warnings() == ()
    assert Settings(host="::1").warnings() == ()


def test_less_room_for_all_connections_than_a_few_messages_take_is_a_warning() -> None:
    assert Settings(max_message_bytes=1 << 20, max_connection_bytes=4 << 20).warnings() == ()
    (warning,) = Settings(max_message_bytes=1 << 20, max_connection_bytes=(4 << 20) - 1).warnings()
    assert "max_connection_bytes (4194303)" in warning
    assert "max_message_bytes (1048576)" in warning


async def test_the_warning_is_in_the_log_when_it_starts(caplog: pytest.LogCaptureFixture) -> None:
    async with Server(Settings(host="0.0.0.0", port=0, allow_origins=("http://a.example",))):
        pass
    assert "ANYBODY who reaches 0.0.0.0" in caplog.text
