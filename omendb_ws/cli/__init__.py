"""The command line: ``omendb-ws COMMAND``.

One file a command. The files import nothing but typer at their top, and what they need where they
need it, because a server is to be ready within a second and ``--help`` at once. Exit codes stand in
``failure.py``. What client commands share: ``reaching.py`` (flags, connecting, errors),
``definitions.py`` (what a collection is), ``arguments.py`` (JSON and vectors), ``output.py`` and
``standard_output.py``, ``progress.py``, ``completion.py``; ``top`` has its model, its view and its
keys in files beside it.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from . import (
    backup,
    check_config,
    check_token,
    cluster,
    count,
    create,
    demo,
    drop,
    dump,
    inspect,
    list_collections,
    load,
    mcp,
    new_key,
    ping,
    repair,
    search,
    serve,
    size,
    stats,
    tail,
    top,
    upgrade_check,
    usage,
)
from .failure import FAILED, WRONG, say
from .loading import choose_kernel_and_loop
from .standard_output import OutputFailed, guard, let_go

EXAMPLES = """\b
Examples:
  omendb-ws demo                            a server with a stream to look at
  omendb-ws serve --port 9000               a server for this machine
  omendb-ws load vectors.npy -c items --create    a file into a collection
  omendb-ws search items --like 17 -k 3     the nearest rows of a row
  omendb-ws top                             what the server does, live
  omendb-ws ping ws://127.0.0.1:9000/v1     is it there, and how fast
  omendb-ws new-key --name app >> keys.toml     a key, for serve --api-key-file keys.toml
"""

#: What typer raises for a flag that is not there, an argument too many, a value that is no number.
#: (It has no name in ``typer`` itself, and moved to another package between versions.)
_UsageError: Any = typer.BadParameter.__base__


class _Commands(typer.core.TyperGroup):
    """The commands; asked for wrongly, they say so in one line, as they do whatever goes wrong."""

    def main(self, *args: Any, **options: Any) -> Any:
        is_alone = options.get("standalone_mode", True)
        options["standalone_mode"] = False
        if not is_alone:
            return super().main(*args, **options)
        try:
            sys.exit(super().main(*args, **options))
        except _UsageError as error:
            path = error.ctx.command_path if error.ctx is not None else "omendb-ws"
            said = " ".join(error.format_message().split()).rstrip(".")
            name = path.removeprefix("omendb-ws").strip()
            print(
                f"omendb-ws: {name}{': ' if name else ''}{said}; see {path} --help",
                file=sys.stderr,
            )
            sys.exit(WRONG)
        except typer.Abort:
            sys.exit(FAILED)


# Plain help and one-line errors: rich's boxes cost 50 ms and cannot be read by programs.
app = typer.Typer(
    name="omendb-ws",
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from .._version import VERSION

    kernel, loop = choose_kernel_and_loop(os.environ.get("OMENDB_EVENT_LOOP") or "auto")
    print(f"omendb-ws {VERSION} (kernel {kernel}, event loop {loop.name})")
    raise typer.Exit


@app.callback(epilog=EXAMPLES)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version, the kernel and the event loop.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Live vector search: a sliding window over a stream, searched exactly, over a WebSocket."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(WRONG)


app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("ping")(ping.ping)
app.command("list")(list_collections.list_collections)
app.command("create")(create.create)
app.command("drop")(drop.drop)
app.command("load")(load.load)
app.command("dump")(dump.dump)
app.command("search")(search.search)
app.command("count")(count.count)
app.command("stats")(stats.stats)
app.command("usage")(usage.usage)
app.add_typer(cluster.app)
app.command("tail")(tail.tail)
app.command("top")(top.top)
app.command("mcp")(mcp.mcp)
app.command("inspect")(inspect.inspect)
app.command("repair")(repair.repair)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("size")(size.size)
app.command("upgrade-check")(upgrade_check.upgrade_check)
app.command("check-config")(check_config.check_config)
app.command("new-key")(new_key.new_key)
app.command("check-token")(check_token.check_token)


def main() -> None:
    """The console script ``omendb-ws``."""
    guard()
    code: object = 0
    try:
        try:
            app(prog_name="omendb-ws")
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe went away, which is its right.
        let_go()
        code = code or FAILED
    except OutputFailed as error:
        let_go()
        say(f"standard output: {error}")
        code = code or FAILED
    sys.exit(code)  # type: ignore[arg-type]
