"""Where settings come from: flags > environment (``OMENDB_…``) > TOML file > defaults.

Reads the environment and the file that these name, and remembers the source of each value.

Invariant: everything wrong is reported at once, one line a field, with its source: of flags,
environment and file together. A variable that is set and empty is not set, as compose files leave
them (``${DIR:-}``); an empty name of a file in the other two is refused.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ..runtime.toml_files import TomlFileError, parse, read_text, shown
from .config import FILES_READ, MAX_COUNT, PATH_FIELDS, Settings

ENVIRONMENT_PREFIX: Final = "OMENDB_"
#: Variables with our prefix that other parts read (the kernels, the build, clients).
OTHER_VARIABLES: Final = frozenset(
    {"OMENDB_KERNEL", "OMENDB_REQUIRE_NATIVE", "OMENDB_TOKEN", "OMENDB_URL"}
)


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
    if name == "trusted_proxies":
        return "a list of addresses and networks"
    if name == "jwt_algorithms":
        return "a list of names"
    if name == "jwt_roles":
        return "tables of roles, in the file"
    annotation = _type_of(field)
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation))
    if annotation in (int, float):
        noun = "an integer" if annotation is int else "a number"
        least, most = _bound(field, "ge"), _bound(field, "le")
        return f"{noun} from {least}" + ("" if most == MAX_COUNT else f" to {most}")
    return "the name of a file or directory" if name in (*PATH_FIELDS, "config_file") else "text"


def _type_of(field: FieldInfo) -> Any:
    """What a value that is given is to be."""
    return int if field.annotation == int | None else field.annotation


def _bound(field: FieldInfo, name: str) -> Any:
    return next(getattr(item, name) for item in field.metadata if hasattr(item, name))


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return {"config_file": "--config", "allow_origins": "--allow-origin"}.get(
        name, "--" + name.replace("_", "-")
    )


def _read_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings that stand there, and warnings of variables that are none."""
    values, warnings = {}, []
    known = {_variable(name): name for name in Settings.model_fields}
    for variable in sorted(environment):
        name, text = known.get(variable), environment[variable]
        if name is None:
            if variable.startswith(ENVIRONMENT_PREFIX) and variable not in OTHER_VARIABLES:
                said = _no_such(variable, known)
                warnings.append(f"environment {variable}: {said}; ignored")
        elif name in ("port", "http_port") and "://" in text:
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
    annotation = _type_of(field)
    if annotation in (int, float):
        try:
            return int(text) if annotation is int else float(text)
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
    known = Settings.model_fields.keys() - {"config_file"}
    unknown = sorted(values.keys() - known)
    problems = [f"{_plain(one)} ({path}): {_no_such(one, known)}" for one in unknown]
    for one in PATH_FIELDS:
        if isinstance(values.get(one), str) and values[one]:
            values[one] = str(path.parent / values[one])
    return {key: value for key, value in values.items() if key not in unknown}, problems


def _plain(name: str) -> str:
    """A name as a message shows it: itself, unless it is long or would break the line."""
    return name if name.isprintable() and 0 < len(name) <= 80 else shown(name)


def _no_such(name: str, known: Iterable[str]) -> str:
    """What to say of a setting that is none, with the one that it is nearly called like."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75) if len(name) <= 80 else []
    return "there is no such setting" + "".join(f" (did you mean {one}?)" for one in near)


def _shown_of(name: str, value: object) -> str:
    """The value of a setting; of a file the whole name, whose end says which it is."""
    return shown(value, 4096) if name in PATH_FIELDS else shown(value)


def _problems(
    error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str]
) -> list[str]:
    problems = []
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0])
        if detail["type"] == "default_factory_not_called":
            continue  # a default that hangs on others, which are at fault themselves
        if name not in Settings.model_fields:
            problems.append(f"{_plain(name)}: {_no_such(name, Settings.model_fields)}")
            continue
        value = f" = {_shown_of(name, values[name])}" if name in values else ""
        # Our own checks say what they want; of pydantic's, what is allowed says enough.
        own = detail["type"] == "value_error"
        said = detail["msg"].removeprefix("Value error, ") if own else f"must be {allowed(name)}"
        problems.append(f"{name}{value} ({sources[name]}): {said}")
    return problems


def _unreadable_files(values: Mapping[str, Any], sources: Mapping[str, str]) -> list[str]:
    problems = []
    for name in FILES_READ:
        path = values.get(name)
        if not isinstance(path, str) or not path or "\0" in path:
            continue  # not given, or refused already
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            problems.append(f"{name} = {_shown_of(name, path)} ({sources[name]}): {error.strerror}")
    return problems
