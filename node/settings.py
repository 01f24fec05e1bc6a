"""The owner's settings: a TOML file of the home, strict about what it does not know."""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import psutil
from msgspec import Meta, Struct

from eval.energy import GRAMS_PER_KWH, WATTS_PER_CORE
from eval.modes import AUTO, FAST, Mode, Wanted
from node.shards import MOST_BITS

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/4801",)
MIB = 1 << 20


class SettingsWrong(Exception):
    """The settings cannot be used; the text names the file and what is wrong with it."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`memory`, `disk` in MiB: the most that evaluation and caches may take. `control_port` 0: any free one.

    `log_disk` in MiB and `log_days`: how much of the log's entries a node keeps, and for how long; 0 for no bound
    (docs/store.md). `data`: a folder with local copies of data sets, so that these are not fetched.
    `least_free_disk` in MiB: with less than that free on the home's disk the node pauses. `bootstrap`: multiaddrs that
    end in `/p2p/` and a peer id.
    `earn`: take spare ranks, too, while a registration costs more than the account has earned.
    `listen`: multiaddrs, `/ip4/0.0.0.0/tcp/4801` or for QUIC `/ip4/0.0.0.0/udp/4801/quic-v1`; a node dials over what it
    listens on, and others prefer TCP. `announce`: what others are told instead of `listen`, for a node behind a
    forwarded port. `relay`: relay for nodes that nobody can dial, as the bootstrap does. `mdns`: find nodes in the same
    house, and be found there.
    `topic_bits`: how topics are split (`node.shards`).
    `web_port`: the bootstrap's page. `sandbox`: with a weaker one than this the node pauses (docs/sandbox.md);
    the strongest that there is gets used in any case. `code_sandbox`: the same for the programs that models write,
    where a weaker one refuses the task. `mode`: how evaluations are computed (docs/evaluation.md). `backend`: "auto"
    for the graphics card where the engine's build has one, "cpu" for the processor alone. `watts_per_core`: what a busy
    core takes, for machines that count no energy; `carbon_intensity`: grams of CO2 equivalents a kWh (docs/energy.md).
    """

    bootstrap: tuple[str, ...] = ()
    listen: tuple[str, ...] = DEFAULT_LISTEN
    announce: tuple[str, ...] = ()
    relay: bool = False
    topic_bits: Annotated[int, Meta(ge=0, le=MOST_BITS)] = 0
    mdns: bool = True
    control_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    web_port: Annotated[int, Meta(ge=0, le=65535)] = 8480
    web_host: str = "127.0.0.1"
    memory: Annotated[int, Meta(ge=256)] = 4096
    disk: Annotated[int, Meta(ge=64)] = 8192
    threads: Annotated[int, Meta(ge=1, le=1024)] = max(1, (psutil.cpu_count(logical=False) or 2) - 1)
    log_disk: Annotated[int, Meta(ge=0)] = 2048
    log_days: Annotated[int, Meta(ge=0)] = 365
    least_free_disk: Annotated[int, Meta(ge=1)] = 64
    sandbox: Literal["strong", "in-process", "limits"] = "limits"
    code_sandbox: Literal["strong", "in-process", "limits"] = "in-process"
    mode: Mode = FAST
    backend: Wanted = AUTO
    watts_per_core: Annotated[float, Meta(gt=0, le=1000)] = WATTS_PER_CORE
    carbon_intensity: Annotated[float, Meta(ge=0, le=5000)] = GRAMS_PER_KWH
    data: str = ""
    earn: bool = False
    first_mark_waits_for: Annotated[int, Meta(ge=0)] = 1


def read_settings(file: Path) -> Settings:
    """The settings in a file, defaults where there is none. Raises `SettingsWrong`."""
    try:
        values = tomllib.loads(file.read_text()) if file.exists() else {}
        return msgspec.convert(values, Settings, strict=True)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SettingsWrong(f"{file}: {error}. Correct the line, or move the file away for the defaults.") from None


def write_settings(file: Path, settings: Settings) -> None:
    """Write all values, one a line: for TOML, JSON's strings, numbers and arrays are the same."""
    lines = [f"{name} = {json.dumps(getattr(settings, name))}" for name in settings.__struct_fields__]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
