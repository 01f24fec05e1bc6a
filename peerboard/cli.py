"""The `peerboard` command: what there is to call. Each command imports what it needs when it is called."""

try:
    import os
    import sys
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Annotated, Literal

    import typer

    from peerboard.endings import is_interrupt
    from peerboard.exits import CommandFailed, Exit, fail
    from peerboard.options import BenchmarkOption, CodeSandboxOption, DataOption, HomeOption, JsonOption, ParentOption
except KeyboardInterrupt:
    raise SystemExit(130) from None  # Ctrl-C is no error, not even before there is a `main`

app = typer.Typer(
    help="A peer-to-peer leaderboard for open LLM and LoRA checkpoints.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
bootstrap_app = typer.Typer(help="The public face of a network.", rich_markup_mode=None)
key_app = typer.Typer(help="This home's keys.", rich_markup_mode=None)
config_app = typer.Typer(help="This home's settings.", rich_markup_mode=None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error ends in a sentence, a remedy and an exit code."""
    arguments = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    as_json = "--json" in arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a sign that the terminal lacks is no reason to fail
    try:
        code = app(arguments, prog_name="peerboard", standalone_mode=False)
        sys.stdout.flush()
    except CommandFailed as error:
        fail(error, as_json=as_json)
    except typer.TyperException as error:
        fail(_usage(error), as_json=as_json)
    except (KeyboardInterrupt, BaseExceptionGroup, typer.Abort) as error:
        if not isinstance(error, typer.Abort) and not is_interrupt(error):
            raise
        raise SystemExit(int(Exit.INTERRUPTED)) from None
    except BrokenPipeError:
        # The reader has seen enough. What is still buffered must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(int(Exit.FAILED)) from None
    raise SystemExit(code if isinstance(code, int) else int(Exit.FINE))


def _usage(error: typer.TyperException) -> CommandFailed:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "peerboard"
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return CommandFailed("USAGE", text.replace("\n", " "), f"{command} --help", Exit.USAGE)


@app.command()
def demo(
    nodes: Annotated[int, typer.Option(help="How many nodes beside the bootstrap.")] = 4,
    epochs: Annotated[int | None, typer.Option(help="Stop after this many epochs.", min=1)] = None,
    home: HomeOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the homes afterwards.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a whole network on this machine.

    Bootstrap, nodes, demo models and questions: each process has a home of its own.
    """
    from peerboard.demo import run_demo

    raise SystemExit(run_demo(nodes, epochs, home, keep=keep, as_json=as_json))


@app.command()
def run(home: HomeOption = None, as_json: JsonOption = False, exit_with_parent: ParentOption = False) -> None:
    """Run this home's node until it is stopped."""
    from peerboard.daemons import run_node_daemon

    raise SystemExit(run_node_daemon(home, exit_with_parent=exit_with_parent))


@bootstrap_app.command("run")
def bootstrap_run(home: HomeOption = None, as_json: JsonOption = False, exit_with_parent: ParentOption = False) -> None:
    """Run this home's bootstrap until it is stopped."""
    from peerboard.daemons import run_bootstrap_daemon

    raise SystemExit(run_bootstrap_daemon(home, exit_with_parent=exit_with_parent))


@bootstrap_app.command("export")
def bootstrap_export(
    folder: Annotated[Path, typer.Argument(help="Where the public files are to lie.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy what this home's bootstrap publishes, for any web server or mirror."""
    from peerboard.export import export

    export(home, folder, as_json=as_json)


@app.command()
def status(
    home: HomeOption = None,
    as_json: JsonOption = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if something needs a look.")] = False,
) -> None:
    """Show what this node is doing."""
    from peerboard import node_status

    raise SystemExit(node_status.status(home, as_json=as_json, check=check))


@app.command()
def pause(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Evaluate nothing until `resume`."""
    from peerboard import node_status

    node_status.pause(home, as_json=as_json)


@app.command()
def resume(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Evaluate again."""
    from peerboard import node_status

    node_status.resume(home, as_json=as_json)


@app.command()
def stop(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop this home's daemon, and wait for its end."""
    from peerboard import node_status

    node_status.stop(home, as_json=as_json)


@app.command()
def leaderboard(
    home: HomeOption = None,
    as_json: JsonOption = False,
    live: Annotated[bool, typer.Option("--live", help="Add what the open epoch shows so far.")] = False,
) -> None:
    """Show the board at the last closed epoch."""
    from peerboard import looking

    looking.leaderboard(home, as_json=as_json, live=live)


@app.command()
def models(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the registered models."""
    from peerboard import looking

    looking.models(home, as_json=as_json)


@app.command()
def benchmarks(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the network's benchmarks."""
    from peerboard import looking

    looking.benchmarks(home, as_json=as_json)


@app.command()
def results(
    home: HomeOption = None,
    as_json: JsonOption = False,
    epochs: Annotated[int, typer.Option(help="How many closed epochs.", min=1, max=24)] = 3,
) -> None:
    """List the final verdicts of the last closed epochs."""
    from peerboard import looking

    looking.results(home, epochs, as_json=as_json)


@app.command()
def runners(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the accounts that evaluate."""
    from peerboard import looking

    looking.runners(home, as_json=as_json)


@app.command()
def energy(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what evaluations cost, in energy and CO2."""
    from peerboard import looking

    looking.energy(home, as_json=as_json)


@app.command()
def tasks(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the open epoch's tasks."""
    from peerboard import looking

    looking.tasks(home, as_json=as_json)


@app.command()
def peers(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the peers that are connected."""
    from peerboard import looking

    looking.peers(home, as_json=as_json)


@app.command()
def credit(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what your account has earned."""
    from peerboard import node_status

    node_status.credit(home, as_json=as_json)


@app.command()
def top(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Open the dashboard of this home's daemon."""
    from peerboard.dashboard import open_dashboard

    raise SystemExit(open_dashboard(home, as_json=as_json))


@app.command()
def init(
    genesis: Annotated[Path, typer.Option("--genesis", help="The network's genesis file.")],
    bootstrap: Annotated[
        list[str] | None,
        typer.Option("--bootstrap", metavar="ADDRESS", help="Address of a peer to begin with; repeat for more."),
    ] = None,
    memory: Annotated[int | None, typer.Option(help="MiB of memory that evaluations may take.")] = None,
    disk: Annotated[int | None, typer.Option(help="MiB of disk that models may take.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a home: keys, genesis and settings."""
    from peerboard import new_home

    new_home.init(home, genesis, bootstrap or (), memory=memory, disk=disk, as_json=as_json)


@app.command()
def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look for what could keep this home from taking part."""
    from peerboard.doctor import examine

    raise SystemExit(examine(home, as_json=as_json))


@key_app.command("show")
def key_show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the public keys, never a secret."""
    from peerboard import home_contents

    home_contents.show_keys(home, as_json=as_json)


@key_app.command("witness")
def key_witness(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make the key with which this node cosigns marks, for a genesis to name it."""
    from peerboard import home_contents

    home_contents.make_witness_key(home, as_json=as_json)


@config_app.command("show")
def config_show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every setting, and where its value comes from."""
    from peerboard import home_contents

    home_contents.show_settings(home, as_json=as_json)


@config_app.command("path")
def config_path(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the settings' file."""
    from peerboard import home_contents

    home_contents.show_settings_path(home, as_json=as_json)


@app.command()
def paths(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show where everything lies."""
    from peerboard import home_contents

    home_contents.show_paths(home, as_json=as_json)


@app.command()
def version(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show versions, and the home's network."""
    from peerboard import home_contents

    home_contents.show_version(home, as_json=as_json)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A GGUF file, or the name of a packaged model.")],
    benchmark: BenchmarkOption,
    samples: Annotated[int, typer.Option("--samples", min=1, help="How many questions to ask.")],
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora", metavar="FILE", help="An adapter, GGUF or PEFT, with a scale behind = (a.gguf=0.5); repeatable."
        ),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Ask the base without adapters, too.")] = False,
    data: DataOption = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Which questions: another seed, others.")] = 0,
    memory: Annotated[
        int | None, typer.Option(min=1, help="MiB that it may take; else three quarters of what is free.")
    ] = None,
    code_sandbox: CodeSandboxOption = None,
    mode: Annotated[
        Literal["fast", "reproducible"],
        typer.Option("--mode", help="reproducible: the same bits whatever else is asked; slower."),
    ] = "fast",
    backend: Annotated[
        Literal["auto", "cpu"], typer.Option("--backend", help="cpu: without the graphics card, where there is one.")
    ] = "auto",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on this machine; publish nothing."""
    from peerboard import local_evaluation

    local_evaluation.evaluate(
        model,
        benchmark,
        samples,
        lora or (),
        data=data,
        seed=seed,
        mode=mode,
        backend=backend,
        compare=compare,
        memory=memory,
        code_sandbox=code_sandbox,
        home=home,
        as_json=as_json,
    )


@app.command()
def score(
    benchmark: BenchmarkOption,
    outputs: Annotated[Path, typer.Option("--outputs", help='Lines of {"index": 0, "output": "text"}.')],
    data: DataOption = None,
    code_sandbox: CodeSandboxOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score answers that were generated elsewhere."""
    from peerboard import local_evaluation

    local_evaluation.score(benchmark, outputs, data=data, code_sandbox=code_sandbox, home=home, as_json=as_json)


@app.command()
def verify(
    place: Annotated[
        str | None, typer.Argument(help="Address of a bootstrap, or a folder with what it publishes.")
    ] = None,
    proof: Annotated[
        Path | None,
        typer.Option("--proof", help="A board as JSON, a checkpoint, a snapshot's header, a receipt, or evidence."),
    ] = None,
    genesis: Annotated[Path | None, typer.Option("--genesis", help="The network's genesis file.")] = None,
    network: Annotated[str | None, typer.Option("--network", help="The network's id, in hex.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute a published board from the log, trusting nobody, and compare."""
    from peerboard import verification

    if genesis is None and home is not None:
        genesis = home / "genesis.cbor"
    raise SystemExit(verification.verify(place, genesis, network, proof, as_json=as_json))


for group, name in ((bootstrap_app, "bootstrap"), (key_app, "key"), (config_app, "config")):
    app.add_typer(group, name=name)
