"""The settings of a server: flags > environment (``OMENDB_…``) > TOML file > defaults.

Knows no socket and no running server. ``Settings`` is frozen and checks values only, so that
``Settings(port=0)`` in a program means the same everywhere; ``load`` is what reads the environment
and files, and remembers where each value came from. (pydantic-settings would read the environment
inside every ``Settings(…)``, cannot tell sources apart afterwards, and costs 80 ms at start.)

Invariant: everything wrong is reported at once, one line a field, with its source: of flags,
environment and file together. A variable that is set and empty is not set, as compose files leave
them (``${DIR:-}``); an empty name of a file in the other two is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from ..access.origins import is_loopback, parse_host, parse_origin
from ..runtime.event_loops import EventLoop
from ..runtime.machine import default_max_memory_bytes
from ..runtime.toml_files import TomlFileError, parse, read_text, shown
from ..wire.limits import LIMITS, Limits

ENVIRONMENT_PREFIX: Final = "OMENDB_"
#: Variables with our prefix that other parts read (the kernels, the build, clients).
OTHER_VARIABLES: Final = frozenset(
    {"OMENDB_KERNEL", "OMENDB_REQUIRE_NATIVE", "OMENDB_TOKEN", "OMENDB_URL"}
)
#: Fields that name files; relative ones in a TOML file are relative to that file.
PATH_FIELDS: Final = ("data_dir", "api_key_file", "tls_certificate_file", "tls_key_file")

MAX_COUNT: Final = 2**53 - 1
#: Of the longest kind, all connections together should have room for so many: one that comes, one
#: that is answered, and as much again before the budget is tight.
LEAST_MESSAGES: Final = 4
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
#: Names of files and hosts that a system takes: not empty, without NUL.
Name = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]


def _limit(name: str) -> Any:
    """A field with the default and the meaning that the table of limits has."""
    about = LIMITS[name].about
    return Field(LIMITS[name].default, description=f"{about[0].upper()}{about[1:]}.")


class Settings(BaseModel):
    """Every setting of a server, checked. Units are in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    host: Name = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        8765, description="Port to listen on; 0 takes any free one."
    )
    config_file: Name | None = Field(None, description="TOML file with any of these settings.")
    data_dir: Name | None = Field(
        None, description="Directory of the journal; without it, collections live in memory only."
    )
    default_durability: Literal["memory", "everysec", "always"] = Field(
        default_factory=lambda data: "memory" if data.get("data_dir") is None else "everysec",
        description="Durability of collections that do not ask for one; by default everysec with a"
        " data directory, memory without.",
        validate_default=True,
    )
    api_key_file: Name | None = Field(
        None, description="TOML file of API keys; without it the server is open to all."
    )
    allow_origins: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="Web origins (scheme://host[:port]) whose pages may connect, besides the"
        " server's own; on a server without keys also the hosts it may be reached by.",
        validate_default=True,
    )
    tls_certificate_file: Name | None = Field(None, description="PEM file with the certificates.")
    tls_key_file: Name | None = Field(
        None, description="PEM file with the private key.", validate_default=True
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log on stderr.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe messages that are logged."
    )
    event_loop: EventLoop = Field(
        "auto", description="auto is uvloop where it is installed, else asyncio."
    )
    scan_threads: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="Threads that share the scan of many searches; 0 is one a core, at most 4."
    )
    queue_deadline_ms: Count = Field(
        1000, description="Work that waited longer is refused as overloaded."
    )
    max_messages_per_second: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="Messages a connection may send a second; 0 is no limit."
    )
    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        10.0, description="How long a leaving server waits for its connections."
    )

    # The limits of PROTOCOL section 9; their defaults and meaning stand in wire/limits.py.
    max_message_bytes: Count = _limit("max_message_bytes")
    max_unauthenticated_bytes: Count = _limit("max_unauthenticated_bytes")
    max_text_bytes: Count = _limit("max_text_bytes")
    max_dim: Count = _limit("max_dim")
    max_capacity: Count = _limit("max_capacity")
    max_rows: Count = _limit("max_rows")
    max_k: Count = _limit("max_k")
    max_queries: Count = _limit("max_queries")
    max_ids: Count = _limit("max_ids")
    max_metadata_bytes: Count = _limit("max_metadata_bytes")
    max_inflight: Count = _limit("max_inflight")
    max_inflight_bytes: Count = _limit("max_inflight_bytes")
    max_pending_bytes: Count = _limit("max_pending_bytes")
    max_pending_rows: Count = _limit("max_pending_rows")
    max_subscriptions: Count = _limit("max_subscriptions")
    max_server_subscriptions: Count = _limit("max_server_subscriptions")
    max_connections: Count = _limit("max_connections")
    max_unauthenticated_connections: Count = _limit("max_unauthenticated_connections")
    max_connection_bytes: Count = _limit("max_connection_bytes")
    max_collections: Count = _limit("max_collections")
    max_producers: Count = _limit("max_producers")
    max_memory_bytes: Count = Field(
        default_factory=default_max_memory_bytes,
        description="All windows, reserved at create, and what collections hold besides (metadata,"
        " texts, subscriptions, waiting hits); by default 70% of the machine's memory, or of the"
        " control group's limit if that is lower.",
    )
    max_payload_bytes: Count = _limit("max_payload_bytes")

    def limits(self) -> Limits:
        """The limits as the wire and the server take them."""
        return Limits(**{name: getattr(self, name) for name in LIMITS})

    def warnings(self) -> tuple[str, ...]:
        """What works and is unwise."""
        found = []
        if self.api_key_file is None and not _listens_on_loopback(self.host):
            found.append(
                f"ANYBODY who reaches {self.host} may read, change and drop everything: there is no"
                " api_key_file. (allow_origins keeps web pages away, and no other program.)"
            )
        if self.max_connection_bytes < LEAST_MESSAGES * self.max_message_bytes:
            found.append(
                f"max_connection_bytes ({self.max_connection_bytes}) is less than {LEAST_MESSAGES}"
                f" messages of max_message_bytes ({self.max_message_bytes}): who sends a large one"
                " may be closed for it"
            )
        return tuple(found)

    @field_validator("default_durability")
    @classmethod
    def _journal_for_durability(cls, value: str, info: ValidationInfo) -> str:
        if value != "memory" and info.data.get("data_dir", "") is None:
            raise ValueError("unsupported without a data directory: set data_dir")
        return value

    @field_validator("allow_origins")
    @classmethod
    def _normal_origins(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        origins = []
        for text in value:
            origin = parse_origin(text)
            if origin is None:
                raise ValueError(
                    f"{text!r} is no origin; write http(s)://host or http(s)://host:port"
                )
            origins.append(str(origin))
        host = info.data.get("host")
        is_open = "api_key_file" in info.data and info.data["api_key_file"] is None
        if not origins and is_open and host is not None and not _listens_on_loopback(host):
            raise ValueError(
                f"host {host} is reachable by others, and without api_key_file any web page could"
                " drive this server: name the origins that may, or set api_key_file"
            )
        return tuple(origins)

    @field_validator("tls_key_file")
    @classmethod
    def _both_tls_files(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "tls_certificate_file" in info.data:
            certificate = info.data["tls_certificate_file"]
            if (certificate is None) != (value is None):
                missing = "tls_key_file" if value is None else "tls_certificate_file"
                raise ValueError(f"TLS needs both files: {missing} is not set")
        return value


class SettingsError(ValueError):
    """Settings that cannot be used; ``problems`` has one line for each field at fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, where each value came from (by field), and what else is worth a warning."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """What flags, environment and file say together: ``values`` by field, each with its source.

    ``problems``: one line for each thing wrong; ``settings`` is None if there is any.
    """

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    problems: list[str]
    settings: Settings | None


def load(
    flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Settings from flags (None: not given), the environment and the file that these name.

    SettingsError lists everything that is wrong.
    """
    found = gather(flags, environment)
    if found.settings is None:
        raise SettingsError(found.problems)
    return Loaded(found.settings, found.sources, found.warnings)


def gather(
    flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Gathered:
    """As ``load``, for whoever goes on to look for more that is wrong. Raises nothing."""
    environment = os.environ if environment is None else environment
    given = {
        name: _from_text(value, name) if isinstance(value, str) else value
        for name, value in (flags or {}).items()
        if value is not None
    }
    from_environment, warnings = _read_environment(environment)
    file = given.get("config_file", from_environment.get("config_file"))
    from_file, problems = ({}, []) if not isinstance(file, str) else _read_file(file)
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, "default")
    for layer, of_layer in (
        (from_file, dict.fromkeys(from_file, f"file {file}")),
        (from_environment, {name: f"environment {_variable(name)}" for name in from_environment}),
        (given, {name: f"flag {flag(name)}" for name in given}),
    ):
        values.update(layer)
        sources.update(of_layer)
    settings = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += _problems(error, values, sources)
    problems += _unreadable_files(values, sources)
    return Gathered(values, sources, warnings, problems, None if problems else settings)


def allowed(name: str) -> str:
    """What the field ``name`` takes, in a few words."""
    field = Settings.model_fields[name]
    if name == "allow_origins":
        return "a list of http(s)://host[:port]"
    annotation: Any = field.annotation
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation))
    if annotation in (int, float):
        noun = "an integer" if annotation is int else "a number"
        least, most = _bound(field, "ge"), _bound(field, "le")
        return f"{noun} from {least}" + ("" if most == MAX_COUNT else f" to {most}")
    return "the name of a file or directory" if name in (*PATH_FIELDS, "config_file") else "text"


def _bound(field: FieldInfo, name: str) -> Any:
    return next(getattr(item, name) for item in field.metadata if hasattr(item, name))


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return {"config_file": "--config", "allow_origins": "--allow-origin"}.get(
        name, "--" + name.replace("_", "-")
    )


def _listens_on_loopback(host: str) -> bool:
    parsed = parse_host(f"[{host}]" if ":" in host else host)
    return parsed is not None and parsed.port is None and is_loopback(parsed.host)


def _read_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings that stand there, and warnings of variables that are none."""
    values, warnings = {}, []
    known = {_variable(name): name for name in Settings.model_fields}
    for variable in sorted(environment):
        name, text = known.get(variable), environment[variable]
        if name is None:
            if variable.startswith(ENVIRONMENT_PREFIX) and variable not in OTHER_VARIABLES:
                warnings.append(f"environment {variable}: there is no such setting; ignored")
        elif name == "port" and "://" in text:
            warnings.append(
                f"environment {variable}: {shown(text)} is what Kubernetes sets for a service of"
                " that name, and no port; ignored"
            )
        elif text:
            values[name] = _from_text(text, name)
    return values, tuple(warnings)


def _from_text(text: str, name: str) -> Any:
    """The value that text stands for; what is no number stays text, and is refused later."""
    field = Settings.model_fields.get(name)
    if field is None:
        return text
    if field.annotation in (int, float):
        try:
            return int(text) if field.annotation is int else float(text)
        except ValueError:
            return text
    if get_origin(field.annotation) is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _read_file(name: str) -> tuple[dict[str, Any], list[str]]:
    """The settings in a file, and what is wrong with it."""
    path = Path(name)
    try:
        values = parse(read_text(path))
    except TomlFileError as error:
        return {}, [f"config_file {name}: {error}"]
    unknown = sorted(values.keys() - (Settings.model_fields.keys() - {"config_file"}))
    problems = [f"{_plain(one)} ({path}): there is no such setting" for one in unknown]
    for one in PATH_FIELDS:
        if isinstance(values.get(one), str) and values[one]:
            values[one] = str(path.parent / values[one])
    return {key: value for key, value in values.items() if key not in unknown}, problems


def _plain(name: str) -> str:
    """A name as a message shows it: itself, unless it is long or would break the line."""
    return name if name.isprintable() and 0 < len(name) <= 80 else shown(name)


def _problems(
    error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str]
) -> list[str]:
    problems = []
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0])
        if detail["type"] == "default_factory_not_called":
            continue  # a default that hangs on others, which are at fault themselves
        if name not in Settings.model_fields:
            problems.append(f"{_plain(name)}: there is no such setting")
            continue
        value = f" = {shown(values[name])}" if name in values else ""
        # Our own checks say what they want; of pydantic's, what is allowed says enough.
        own = detail["type"] == "value_error"
        said = detail["msg"].removeprefix("Value error, ") if own else f"must be {allowed(name)}"
        problems.append(f"{name}{value} ({sources[name]}): {said}")
    return problems


def _unreadable_files(values: Mapping[str, Any], sources: Mapping[str, str]) -> list[str]:
    problems = []
    for name in ("api_key_file", "tls_certificate_file", "tls_key_file"):
        path = values.get(name)
        if not isinstance(path, str) or not path or "\0" in path:
            continue  # not given, or refused already
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            problems.append(f"{name} = {shown(path)} ({sources[name]}): {error.strerror}")
    return problems
