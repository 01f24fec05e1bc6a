"""The `peerboard` command. Heavy libraries are imported by the commands that need them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from peerboard.exits import CommandFailed, Exit, fail

app = typer.Typer(
    help="A peer-to-peer leaderboard for open LLM and LoRA checkpoints.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bootstrap_app = typer.Typer(help="The public face of a network.", no_args_is_help=True)
app.add_typer(bootstrap_app, name="bootstrap")

HomeOption = Annotated[Path | None, typer.Option("--home", help="Folder that holds everything of this node.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ParentOption = Annotated[bool, typer.Option("--exit-with-parent", hidden=True)]


def main() -> None:
    """Run the command line; every error ends in a sentence, a remedy and an exit code."""
    as_json = "--json" in sys.argv
    try:
        app()
    except CommandFailed as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        raise SystemExit(int(Exit.INTERRUPTED)) from None


@app.command()
def demo(
    nodes: Annotated[int, typer.Option(help="How many nodes beside the bootstrap.")] = 4,
    epochs: Annotated[int | None, typer.Option(help="Stop after this many epochs.", min=1)] = None,
    home: HomeOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the homes afterwards.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a whole network on this machine: bootstrap, nodes, demo models and questions."""
    from peerboard.demo import run_demo

    raise SystemExit(run_demo(nodes, epochs, home, keep=keep, as_json=as_json))


@app.command()
def run(home: HomeOption = None, exit_with_parent: ParentOption = False) -> None:
    """Run this home's node until it is stopped."""
    from peerboard.daemons import run_node_daemon

    raise SystemExit(run_node_daemon(home, exit_with_parent=exit_with_parent))


@bootstrap_app.command("run")
def bootstrap_run(home: HomeOption = None, exit_with_parent: ParentOption = False) -> None:
    """Run this home's bootstrap until it is stopped."""
    from peerboard.daemons import run_bootstrap_daemon

    raise SystemExit(run_bootstrap_daemon(home, exit_with_parent=exit_with_parent))


@app.command()
def leaderboard(
    home: HomeOption = None,
    as_json: JsonOption = False,
    live: Annotated[bool, typer.Option("--live", help="Add what the open epoch shows so far.")] = False,
) -> None:
    """Show the board at the last closed epoch."""
    from peerboard.looking import show_leaderboard

    show_leaderboard(home, as_json=as_json, live=live)
