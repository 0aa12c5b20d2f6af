"""The reference of the command line: every command with its flags and examples; exit codes."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

import typer.main

from omendb_ws.cli import app, failure

from .markdown import MADE, code, codes, prose, table

#: What is told of every command that talks to a server once, above them.
COMMON = ("--url", "--token", "--token-file", "--ca-file", "--timeout-seconds", "--json")
_CLIENTS = ("list", "create", "drop", "load", "dump", "search", "count", "stats", "tail", "top",
            "cluster status",
            "cluster move-owner", "cluster evacuate", "cluster heal")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flag:
    """An option or argument of a command: its names, the placeholder of its value, its help."""

    names: tuple[str, ...]
    value: str
    about: str
    is_argument: bool


def _commands() -> dict[str, Any]:
    """Each command by its name; those of a group by both."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        group = getattr(command, "commands", None)
        if group is None:
            found[name] = command
        else:
            found |= {f"{name} {of_group}": one for of_group, one in group.items()}
    return found


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    if option.default is None or isinstance(option.default, bool) or callable(option.default):
        return ""
    return str(option.default)


def _flag(option: Any) -> Flag:
    is_argument = not option.opts[0].startswith("-")
    about = (option.help or "").rstrip(".") + "."
    if not is_argument and option.required:
        about += " Required."
    if default := _default(option):
        about += f" Default: {default}."
    if option.envvar:
        about += f" Or the variable `{option.envvar}`."
    names = tuple(sorted(option.opts, key=len))
    return Flag(names, option.metavar or "", about, is_argument)


def flags_of(command: str) -> list[Flag]:
    """Every argument and option of a command."""
    return [_flag(option) for option in _commands()[command].params]


def _rows(flags: list[Flag]) -> list[list[str]]:
    return [
        [", ".join(code(name) for name in flag.names), code(flag.value) if flag.value else "",
         flag.about]
        for flag in flags
    ]  # fmt: skip


def _command(name: str, command: Any) -> str:
    text, *rest = re.split(r"\x08\nExamples?:\n", inspect.cleandoc(command.help or ""))
    examples = "".join(rest)
    flags = flags_of(name)
    is_common = {COMMON[0], COMMON[-1]} <= {one for flag in flags for one in flag.names}
    own = [flag for flag in flags if not (is_common and set(flag.names) & set(COMMON))]
    arguments = " ".join(flag.names[0].upper() for flag in own if flag.is_argument)
    parts = [f"\n## `{name}`\n\n{_escaped(prose(text))}\n"]
    shown = f"omendb-ws {name} {arguments}".rstrip() + " [FLAGS]\n"
    parts.append(f"\n```\n{shown}```\n")
    if own:
        parts.append("\n" + table(["flag", "value", "what it is"], _rows(own)))
    if is_common:
        parts.append("\nAnd the [flags of every client](#flags-of-every-client).\n")
    if examples:
        parts.append(f"\nExamples:\n\n```\n{inspect.cleandoc(examples)}\n```\n")
    return "".join(parts)


def _escaped(text: str) -> str:
    """Help is plain text: what Markdown would take for markup is made code."""
    text = text.replace("\b\n", "")
    return re.sub(r"(?<!`)(\{.*\}|--[a-z][\w-]+|'[^']*\[[^']*\]')(?!`)", r"`\1`", text)


def command_line() -> str:
    """Every command."""
    commands = _commands()
    common = [flag for flag in flags_of("list") if set(flag.names) & set(COMMON)]
    root = [_flag(option) for option in typer.main.get_command(app).params]
    summary = [
        [f"[{code(name)}](#{name.replace(' ', '-')})", command.help.split("\n")[0].rstrip(".")]
        for name, command in commands.items()
    ]
    exits = [
        ["0", "done"],
        [str(failure.FAILED), "it did not work: the server refused it, a row of a file cannot"
         " go in, or the file was cut short while it was read"],
        [str(failure.WRONG), "it was asked for wrongly: a flag, a setting, or a file that is"
         " missing, cut off or of another kind"],
        [str(failure.NO_SERVER), "no server answers there, or it went away"],
        [str(failure.LATE), "it was asked for, and was not so in time: it goes on"],
        [str(failure.INTERRUPTED), "Ctrl-C"],
    ]  # fmt: skip
    return (
        f"{MADE}# Command line\n\n"
        "`omendb-ws COMMAND --help` says the same. What goes wrong is one line on stderr.\n\n"
        + table(["command", "what it does"], summary)
        + "\nWithout a command:\n\n"
        + table(["flag", "value", "what it is"], _rows(root))
        + "\n## Flags of every client\n\n"
        f"{codes(list(_CLIENTS))} "
        "talk to a server and take these:\n\n"
        + table(["flag", "value", "what it is"], _rows(common))
        + "\n## Exit codes\n\n"
        + table(["exit code", "when"], exits)
        + "".join(_command(name, command) for name, command in commands.items())
    )
