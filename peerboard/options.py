"""The options that several commands share: one name, one meaning, one sentence of help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

HomeOption = Annotated[Path | None, typer.Option("--home", help="Folder that holds everything of this node.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", envvar="PEERBOARD_DATA", help="Folder with local copies of data sets.")
]
BenchmarkOption = Annotated[str, typer.Option("--benchmark", help="Name of the benchmark.")]
CodeSandboxOption = Annotated[
    Literal["strong", "in-process", "limits"] | None,
    typer.Option(
        "--code-sandbox",
        help="The weakest sandbox in which a program that a model wrote may run; else the setting of that name.",
    ),
]
ParentOption = Annotated[bool, typer.Option("--exit-with-parent", hidden=True)]
