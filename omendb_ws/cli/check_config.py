"""``omendb-ws check-config``: what ``serve`` would run with, and where each value comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from . import options
from .failure import WRONG, fail, say

if TYPE_CHECKING:
    from ..node.config import Settings
    from ..node.settings_sources import Gathered

#: Longer values do not make the column wider: roles may be a page of JSON.
_WIDEST: Final = 40


def check_config(
    config: options.ConfigFile = None,
    host: options.Host = None,
    port: options.Port = None,
    http_port: options.HttpPort = None,
    data_dir: options.DataDir = None,
    cluster: options.Cluster = None,
    node_name: options.NodeName = None,
    cluster_name: options.ClusterName = None,
    cluster_credentials: options.ClusterCredentials = None,
    advertise: options.Advertise = None,
    api_key_file: options.ApiKeyFile = None,
    tenants_file: options.TenantsFile = None,
    allow_origin: options.AllowOrigin = None,
    tls_certificate_file: options.TlsCertificateFile = None,
    tls_key_file: options.TlsKeyFile = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    max_memory_bytes: options.MaxMemoryBytes = None,
    drain_seconds: options.DrainSeconds = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check the settings, and print each with where it comes from.

    A flag goes before the environment (OMENDB_ and the setting's name in capitals), the environment
    before the TOML file, the file before the default. The exit code is 2, with a line for each
    setting at fault, where serve would refuse to start.

    \b
    Example:
      OMENDB_MAX_K=50 omendb-ws check-config --config omendb.toml
    """
    from ..node.settings_sources import gather

    found = gather(
        options.given(
            config_file=config,
            host=host,
            port=port,
            http_port=http_port,
            data_dir=data_dir,
            cluster=cluster,
            node_name=node_name,
            cluster_name=cluster_name,
            advertise=advertise,
            cluster_credentials=cluster_credentials,
            api_key_file=api_key_file,
            tenants_file=tenants_file,
            allow_origins=allow_origin,
            tls_certificate_file=tls_certificate_file,
            tls_key_file=tls_key_file,
            log_format=log_format,
            log_level=log_level,
            max_memory_bytes=max_memory_bytes,
            drain_seconds=drain_seconds,
        )
    )
    problems, unwise = _looked_into(found)
    warnings = [*found.warnings, *unwise]
    if found.settings is not None:
        warnings += found.settings.warnings()
    for warning in warnings:
        say(f"warning: {warning}")
    if found.settings is None or problems:
        fail(WRONG, *found.problems, *problems)
    settings, sources = found.settings, found.sources
    print(_as_json(settings, sources, warnings) if as_json else _as_table(settings, sources))


def _looked_into(found: Gathered) -> tuple[list[str], list[str]]:
    """What is wrong, and what unwise, with the files and the parts that the settings name.

    What ``found`` says is wrong is not said again.
    """
    from omendb_core.scan import choice as scan

    from ..access import keyring
    from ..journal.jetstream import connection
    from ..net import http_port, tls
    from ..runtime import event_loops, extras
    from ..telemetry import tracing

    values = found.values
    problems: list[str] = []
    unwise: list[str] = []

    def certificates() -> None:
        tls.server_context(values["tls_certificate_file"], values["tls_key_file"])

    def jwt_keys() -> None:
        unwise.extend(_jwt_keys(found))

    checks: tuple[tuple[tuple[str, ...], Callable[[], object]], ...] = (
        ((), scan.choose),
        (("event_loop",), lambda: event_loops.choose(values["event_loop"])),
        (("tls_certificate_file", "tls_key_file"), certificates),
        (("api_key_file",), lambda: unwise.extend(_api_keys(found))),
        *(((name,), jwt_keys) for name in ("jwt_keys", "jwt_jwks_url", "jwt_secret_file")),
        (("tenants_file",), lambda: _tenants(found)),
        (("http_port",), http_port.check_extra),
        (("trace_endpoint",), tracing.check_extra),
        (("cluster",), connection.check_extra),
        (("audit_file",), lambda: unwise.extend(_audit_file(found))),
    )
    for names, check in checks:
        is_said = any(line.split(" ", 1)[0] in names for line in found.problems)
        if is_said or any(values.get(name) is None for name in names):
            continue
        try:
            check()
        except (keyring.KeyFileError, tls.TlsError, extras.ExtraMissing, ValueError) as error:
            problems.append(str(error))
    return problems, unwise


def _api_keys(found: Gathered) -> Sequence[str]:
    """What is unwise about them. KeyFileError."""
    from ..access.keyring import Keyring

    return Keyring.load(found.values["api_key_file"]).warnings


def _jwt_keys(found: Gathered) -> Sequence[str]:
    """What is unwise about them. KeyFileError."""
    from ..node.keys import read_jwt_keys

    key_set = None if found.settings is None else read_jwt_keys(found.settings)
    return () if key_set is None else key_set.warnings


def _audit_file(found: Gathered) -> Sequence[str]:
    """What is unwise about it. AuditFileError."""
    from ..node.audit_file import check_audit_file

    return check_audit_file(found.values["audit_file"])


def _tenants(found: Gathered) -> None:
    """TenantsFileError, whatever else is wrong."""
    from ..node.config import MAX_COUNT
    from ..tenants.limits import TenantLimits

    most = MAX_COUNT if found.settings is None else found.settings.max_tenants
    TenantLimits.load(found.values["tenants_file"], most)


def _as_table(settings: Settings, sources: Mapping[str, str]) -> str:
    rows = [(name, _shown(value), sources[name]) for name, value in settings.model_dump().items()]
    names = max(len(name) for name, _, _ in rows)
    values = max((len(value) for _, value, _ in rows if len(value) <= _WIDEST), default=0)
    return "\n".join(
        f"{name:<{names}}  {value:<{values}}  {source}" for name, value, source in rows
    )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return "-" if value is None else str(value)


def _as_json(settings: Settings, sources: Mapping[str, str], warnings: list[str]) -> str:
    values = {
        name: {"value": value, "source": sources[name]}
        for name, value in settings.model_dump(mode="json").items()
    }
    return json.dumps({"settings": values, "warnings": warnings}, indent=2)
