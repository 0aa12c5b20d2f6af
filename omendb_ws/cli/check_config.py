"""``omendb-ws check-config``: what ``serve`` would run with, and where each value comes from."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .failure import failing
from .loading import choose_kernel_and_loop, load_settings

if TYPE_CHECKING:
    from ..config import Loaded, Settings


def check_config(
    config: options.ConfigFile = None,
    host: options.Host = None,
    port: options.Port = None,
    data_dir: options.DataDir = None,
    api_key_file: options.ApiKeyFile = None,
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
    loaded = load_settings(
        options.given(
            config_file=config,
            host=host,
            port=port,
            data_dir=data_dir,
            api_key_file=api_key_file,
            allow_origins=allow_origin,
            tls_certificate_file=tls_certificate_file,
            tls_key_file=tls_key_file,
            log_format=log_format,
            log_level=log_level,
            max_memory_bytes=max_memory_bytes,
            drain_seconds=drain_seconds,
        )
    )
    warnings = [*loaded.warnings, *_open_files(loaded.settings)]
    for warning in warnings:
        print(f"omendb-ws: warning: {warning}", file=sys.stderr)
    print(_as_json(loaded, warnings) if as_json else _as_table(loaded))


def _open_files(settings: Settings) -> tuple[str, ...]:
    """Read the files that a server would; their warnings. Fails as ``serve`` would."""
    from .. import auth, tls

    choose_kernel_and_loop(settings.event_loop)
    with failing(auth.KeyFileError, tls.TlsError):
        if settings.tls_certificate_file is not None and settings.tls_key_file is not None:
            tls.server_context(settings.tls_certificate_file, settings.tls_key_file)
        if settings.api_key_file is not None:
            return auth.Keyring.load(settings.api_key_file).warnings
    return ()


def _as_table(loaded: Loaded) -> str:
    rows = [
        (name, _shown(value), loaded.sources[name])
        for name, value in loaded.settings.model_dump().items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return "-" if value is None else str(value)


def _as_json(loaded: Loaded, warnings: list[str]) -> str:
    settings = {
        name: {"value": value, "source": loaded.sources[name]}
        for name, value in loaded.settings.model_dump(mode="json").items()
    }
    return json.dumps({"settings": settings, "warnings": warnings}, indent=2)
