"""``omendb-ws cluster COMMAND``: what operators of several nodes do. One file a command."""

from __future__ import annotations

import sys

import typer

from ..failure import WRONG
from . import evacuate, heal, move_owner, start, status

EXAMPLES = """\b
Examples:
  omendb-ws cluster start
  omendb-ws cluster status
  omendb-ws cluster move-owner items two
  omendb-ws cluster evacuate two
  omendb-ws cluster heal items
"""

app = typer.Typer(name="cluster", rich_markup_mode=None, invoke_without_command=True)


@app.callback(epilog=EXAMPLES)
def _root(context: typer.Context) -> None:
    """Several nodes over one NATS: who is there, what is to move, and what to be healed."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(WRONG)


app.command("start")(start.start)
app.command("status")(status.status)
app.command("move-owner")(move_owner.move_owner)
app.command("evacuate")(evacuate.evacuate)
app.command("heal")(heal.heal)
