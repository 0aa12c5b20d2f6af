"""The command line: ``omendb-ws COMMAND``.

One file a command. The files import nothing but typer at their top, and what they need where they
need it, because a server is to be ready within a second and ``--help`` at once. Exit codes stand in
``failure.py``. What client commands share: ``reaching.py`` (flags, connecting, errors),
``definitions.py`` (what a collection is), ``arguments.py`` (JSON and vectors), ``output.py``,
``progress.py``, ``completion.py``; ``top`` has its model, its view and its keys in files beside it.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from . import (
    backup,
    check_config,
    create,
    demo,
    drop,
    dump,
    inspect,
    list_collections,
    load,
    new_key,
    ping,
    repair,
    search,
    serve,
    stats,
    tail,
    top,
)
from .loading import choose_kernel_and_loop

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

# Plain help and one-line errors: rich's boxes cost 50 ms and cannot be read by programs.
app = typer.Typer(
    name="omendb-ws",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    no_args_is_help=True,
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


app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("ping")(ping.ping)
app.command("list")(list_collections.list_collections)
app.command("create")(create.create)
app.command("drop")(drop.drop)
app.command("load")(load.load)
app.command("dump")(dump.dump)
app.command("search")(search.search)
app.command("stats")(stats.stats)
app.command("tail")(tail.tail)
app.command("top")(top.top)
app.command("inspect")(inspect.inspect)
app.command("repair")(repair.repair)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("check-config")(check_config.check_config)
app.command("new-key")(new_key.new_key)


def main() -> None:
    """The console script ``omendb-ws``."""
    try:
        app(prog_name="omendb-ws")
    except BrokenPipeError:
        # The reader of a pipe went away, which is its right. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
