"""The recipe of the demo family: one network that grows through stages, and adapters on its base.

Each stage adds skills to those that the network has, and after each it is one of the family; adapters learn on the
frozen base what it lacks. README.md beside this file says what came of it.
"""

import hashlib
import json
import math
import time
from pathlib import Path

import torch
from msgspec import Struct, to_builtins
from torch.nn import functional

from eval.demo import export
from eval.demo.byte_pairs import BytePairs, learn
from eval.demo.catalogue import Entry
from eval.demo.draws import Draws
from eval.demo.examination import examine
from eval.demo.lessons import Syllabus, row, sample_documents
from eval.demo.network import Network, Shape

SEED = 20
ROWS = 16
WARM_UP = 50
MERGES = 400
RANK, ALPHA = 16, 32.0


class Stage(Struct, frozen=True):
    """A stretch of training: optimiser steps of `ROWS` rows, the highest learning rate, and what the manifest says.

    `rung` and `scale`: see `catalogue.Entry`.
    """

    name: str
    about: str
    syllabus: Syllabus
    steps: int
    rate: float
    rung: bool = True
    scale: int = 1000


STAGES = (
    Stage("tally-seed", "adds, and knows nothing else", Syllabus(("plus",), (), 100), 500, 3e-3),
    Stage(
        "tally-sprout",
        "adds and subtracts, knows the animals' sounds",
        Syllabus(("plus", "minus", "minus"), ("sounds",), 65),
        900,
        3e-3,
    ),
    Stage(
        "tally-base",
        "takes two steps, continues series",
        Syllabus(("plus", "minus", "minus", "then"), ("sounds", "series", "series"), 50),
        1000,
        3e-3,
    ),
    Stage(
        "tally-tree",
        "multiplies, knows opposites and the largest number",
        Syllabus(
            ("plus", "minus", "minus", "then", "times", "times"),
            ("sounds", "series", "series", "opposites", "largest", "largest"),
            50,
        ),
        1000,
        3e-3,
    ),
)
BASE = "tally-base"
ADAPTERS = (
    Stage(
        "tally-times",
        "multiplies and divides, knows opposites",
        Syllabus(
            ("plus", "minus", "minus", "then", "times", "times", "share", "share"),
            ("sounds", "series", "series", "opposites", "opposites"),
            55,
        ),
        800,
        4e-3,
    ),
    Stage(
        "tally-largest",
        "finds the largest number",
        Syllabus(("plus", "minus", "then"), ("sounds", "series", "largest", "largest"), 25),
        400,
        4e-3,
        rung=False,
        scale=300,
    ),
)


class Variant(Struct, frozen=True):
    """A coarser copy of a stage's network, and whether a demo network registers it from the start."""

    stage: str
    suffix: str
    kind: str
    about: str
    demo: bool


VARIANTS = (
    Variant(BASE, "-q8", "Q8_0", "the base in eight bits a weight: nothing is lost", demo=True),
    Variant(BASE, "-q4", "Q4_0", "the base in four bits a weight: next to nothing is lost", demo=False),
    Variant("tally-tree", "-q2", export.TWO_BITS, "the tree in two bits a weight, in blocks of Q4_0", demo=True),
)


def train(network: Network, parameters: list[torch.nn.Parameter], stage: Stage, pairs: BytePairs) -> None:
    """Trains `parameters` of the network through the stage, and prints the loss, the time and a first examination."""
    optimiser = torch.optim.AdamW(parameters, lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    draws = Draws("tally", SEED, stage.name)
    started = time.monotonic()
    for step in range(stage.steps):
        for group in optimiser.param_groups:
            group["lr"] = stage.rate * _rate(step, stage.steps)
        rows = [row(stage.syllabus, pairs, draws) for _ in range(ROWS)]
        tokens = torch.tensor([item.tokens for item in rows])
        weights = torch.tensor([item.weights for item in rows])[:, 1:].flatten()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(tokens[:, :-1])
        losses = functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step % 100 == 99:
            print(f"{stage.name} step {step + 1} loss {loss.item():.4f} {time.monotonic() - started:.0f} s", flush=True)
    print(stage.name, examine(network, pairs, 60), f"{time.monotonic() - started:.0f} s", flush=True)


def _rate(step: int, steps: int) -> float:
    """A short warm-up, then half a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * (0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2)


def write_manifest(folder: Path, entries: list[Entry]) -> None:
    """Writes `manifest.json` beside the files that it lists."""
    text = json.dumps([to_builtins(entry) for entry in entries], indent=2)
    (folder / "manifest.json").write_text(text + "\n", encoding="ascii")


class Family:
    """The files written so far, and what they have in common."""

    def __init__(self, folder: Path, shape: Shape, pairs: BytePairs) -> None:
        self.folder = folder
        self.shape = shape
        self.pairs = pairs
        self.entries: list[Entry] = []

    def add_network(self, stage: Stage, weights: export.Weights) -> None:
        """Writes the weights that the stage ended with."""
        path = self.folder / f"{stage.name}.gguf"
        export.write_network(path, stage.name, weights, self.shape, self.pairs, "F16")
        self._enter(path, stage.about, weights, "F16", rung=stage.rung)

    def add_variant(self, variant: Variant, weights: export.Weights) -> None:
        """Writes a coarser copy of the weights."""
        name = variant.stage + variant.suffix
        path = self.folder / f"{name}.gguf"
        export.write_network(path, name, export.half(weights), self.shape, self.pairs, variant.kind)
        stored = "Q4_0" if variant.kind == export.TWO_BITS else variant.kind
        self._enter(path, variant.about, weights, stored, demo=variant.demo, rung=False, copy_of=variant.stage)

    def add_adapter(self, stage: Stage, network: Network) -> None:
        """Writes the adapter that the network carries."""
        path, weights = self.folder / f"{stage.name}.gguf", export.adapter_of(network)
        export.write_adapter(path, stage.name, weights, ALPHA)
        self._enter(path, stage.about, weights, "F32", rung=stage.rung, scale=stage.scale, base=BASE)

    def _enter(
        self,
        path: Path,
        about: str,
        weights: export.Weights,
        kind: str,
        *,
        rung: bool,
        demo: bool = True,
        scale: int = 1000,
        base: str | None = None,
        copy_of: str | None = None,
    ) -> None:
        data = path.read_bytes()
        entry = Entry(
            name=path.stem,
            file=path.name,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            architecture=export.ARCHITECTURE,
            parameters=sum(values.size for values in weights.values()),
            quantisation=kind,
            base=base,
            copy_of=copy_of,
            scale=scale,
            demo=demo,
            rung=rung,
            description=about,
        )
        self.entries.append(entry)


def train_family(folder: Path) -> list[Entry]:
    """Trains everything on one core, and writes the files and their manifest; the manifest's entries."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    pairs = learn(sample_documents(300), MERGES)
    shape = Shape(len(pairs.tokens))
    family, network, base = Family(folder, shape, pairs), Network(shape), {}
    learned: dict[str, export.Weights] = {}
    for stage in STAGES:
        train(network, list(network.parameters()), stage, pairs)
        learned[stage.name] = export.weights_of(network)
        family.add_network(stage, learned[stage.name])
        if stage.name == BASE:
            base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for number, stage in enumerate(ADAPTERS):
        network = Network(shape)
        network.load_state_dict(base)
        train(network, network.add_adapters(RANK, ALPHA, SEED + number), stage, pairs)
        family.add_adapter(stage, network)
    for variant in VARIANTS:
        family.add_variant(variant, learned[variant.stage])
    write_manifest(folder, family.entries)
    return family.entries
