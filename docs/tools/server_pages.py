"""The reference of the server: settings, limits, errors, metrics."""

from __future__ import annotations

from typing import Any

from omendb_core.model.errors import BY_CODE

from omendb_ws.node.config import Settings
from omendb_ws.node.settings_sources import ENVIRONMENT_PREFIX, allowed, flag, load
from omendb_ws.telemetry.exposition import PROCESS
from omendb_ws.telemetry.prometheus import METRICS
from omendb_ws.wire import opcodes

from .command_pages import flags_of
from .markdown import MADE, code, codes, number, prose, sentence, table

#: A default that depends on the machine.
OF_THE_MACHINE = {"max_memory_bytes": "70% of the machine's"}


def settings() -> str:
    """Every setting: default, what it takes, its flag, what it is."""
    flags = {name for option in flags_of("serve") for name in option.names}
    rows = []
    for name, field in Settings.model_fields.items():
        its_flag = code(flag(name)) if flag(name) in flags else ""
        about = (field.description or "").rstrip(".")
        rows.append([code(name), _default(name), its_flag, allowed(name), about])
    return (
        f"{MADE}# Settings\n\n"
        "A setting comes from a flag, else from an environment variable "
        f"(`{ENVIRONMENT_PREFIX}` and the name in capitals: `OMENDB_MAX_K=50`), else from a TOML "
        "file (`--config FILE`), else it has its default. An empty variable is not set. "
        "`omendb-ws check-config` prints each with its source, or everything that is wrong. "
        "A setting without a flag is for the environment and the file.\n\n"
        + table(["setting", "default", "flag", "takes", "what it is"], rows)
    )


def _default(name: str) -> str:
    if name in OF_THE_MACHINE:
        return OF_THE_MACHINE[name]
    value: Any = getattr(load({}, {}).settings, name)
    if value in (None, (), {}):
        return "none"
    if isinstance(value, tuple):
        return codes(value)
    if isinstance(value, str):
        return code(value)
    return number(value, is_bytes=name.endswith("_bytes"))


def limits() -> str:
    """Every limit that is a setting, and those that are not."""
    rows = [
        [
            code(limit.name),
            OF_THE_MACHINE.get(name) or number(limit.default, is_bytes=name.endswith("_bytes")),
            sentence(limit.about.split("; a server takes")[0]),
        ]
        for name, limit in opcodes.LIMITS.items()
    ]
    fixed = [
        ["declared columns of a collection", number(opcodes.MAX_COLUMNS)],
        ["characters in the name of a collection or column", number(opcodes.MAX_NAME_LENGTH)],
        ["bytes of a string id", number(opcodes.MAX_STR_ID_BYTES)],
        ["bytes of a producer's name", number(opcodes.MAX_PRODUCER_BYTES)],
        ["milliseconds of `every`", number(opcodes.MAX_EVERY_MS)],
        ["seconds of `ttl`", number(opcodes.MAX_TTL_SECONDS)],
        ["bytes of a push; larger ones are split", number(opcodes.PUSH_BYTES, is_bytes=True)],
    ]
    return (
        f"{MADE}# Limits\n\n"
        "Going over a limit is an error that names it; nothing is changed and the connection "
        "lives. Each of these is a [setting](settings.md) of the same name; a server tells its "
        "own in the event `hello`, and the Python client in `limits()`.\n\n"
        + table(["limit", "default", "of what"], rows)
        + "\nThese are fixed:\n\n"
        + table(["what", "at most"], fixed)
    )


def errors() -> str:
    """Every error code with its class, and every close code."""
    rows = [
        [code(name), code(cls.__name__), "yes" if cls.retry else "no", prose(cls.__doc__)]
        for name, cls in BY_CODE.items()
    ]
    rows = [[" ".join(cell.split()).replace("2**", "2^") for cell in row] for row in rows]
    closes = [[code(str(number)), sentence(about)] for number, about in opcodes.CLOSE_CODES.items()]
    return (
        f"{MADE}# Errors\n\n"
        "A refused request has changed nothing. `code`, `message` and `retry` are on the wire and "
        "in every client; `row` is there where one row of a batch is at fault, and some codes have "
        "a further field. In Python each code is a class of `omendb_ws.errors`, and those with "
        "`retry` are subclasses of `Retryable`; in JavaScript all are `OmenError`.\n\n"
        + table(["code", "Python class", "retry", "meaning"], rows)
        + "\nThe Python clients raise two more: `ConnectionLost` (the outcome of a change may be "
        "unknown) and the built-in `TimeoutError`. In JavaScript they are the codes "
        '`"connection_lost"` and `"timeout"`.\n\n'
        "After `storage_failed`, `internal` and a lost connection the outcome of a change is "
        "unknown. [Named batches](../how-to/producers.md) make repeating it safe.\n\n"
        "## Close codes\n\n" + table(["code", "why the server closed"], closes)
    )


def metrics() -> str:
    """Every metric with its kind."""
    rows = []
    for metric in METRICS:
        name = metric.name + ("_total" if metric.kind == "counter" else "")
        label = f" (by {codes(metric.labels)})" if metric.labels else ""
        rows.append([code(name), metric.kind, sentence(metric.help) + label])
    return (
        f"{MADE}# Metrics\n\n"
        "`/metrics` gives these to Prometheus, in its text format or, where `Accept` asks for it, "
        "as OpenMetrics. With keys it needs a token with the right `operator`; one with `admin` "
        "on all of its tenant sees its own `omendb_tenant_` and `omendb_collection_` ones. "
        "[Monitoring](../how-to/monitoring.md) says which to watch.\n\n"
        + table(["metric", "kind", "what it counts"], rows)
        + "\nOn Linux there are also those of the process that Prometheus's own libraries have:\n\n"
        + table(["of the process", "kind"], [[code(name), kind] for name, kind in PROCESS.items()])
    )
