"""`peerboard init`: a home for a network that exists already."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from node.home import Home, find_home
from node.identity import KeyFileDamaged, load_identity
from node.peer_id import peer_id
from node.peer_key import PeerKeyError, load_peer_key
from node.settings import Settings, write_settings
from peerboard.calling import command
from peerboard.exits import CommandFailed, Exit, json_answer
from protocol import cbor
from protocol.genesis import Genesis, read_genesis
from protocol.rejections import Rejected

MOST_GENESIS_BYTES = 64 << 20
_ADDRESS = re.compile(
    r"/(?:ip4|ip6|dns|dns4|dns6)/[^/\s]+/(?:tcp/\d{1,5}|udp/\d{1,5}/quic-v1)/p2p/[1-9A-HJ-NP-Za-km-z]{20,100}"
)
PUBLIC = """\
What becomes public, and stays: the account's and the device's public keys, which tasks they took and what they found,
and what this machine offers (memory, disk, a coarse class of hardware). Peers that you connect to see your address.
What stays here: the keys themselves, your files, your settings. Everything that is signed is signed with these keys:
keep a copy of account.key in a safe place, because nobody can give it back to you."""


def init(
    folder: Path | None,
    genesis_file: Path,
    bootstrap: Sequence[str],
    *,
    memory: int | None,
    disk: int | None,
    as_json: bool,
) -> None:
    """Make a home: keys, genesis and settings. Nothing that exists is overwritten. Raises `CommandFailed`."""
    home = find_home(folder)
    genesis = _read_genesis(genesis_file)
    for address in bootstrap:
        if not _ADDRESS.fullmatch(address):
            text = f"{address!r} is no address of a peer: it ends in /p2p/ and the peer's id."
            raise CommandFailed("WRONG_ADDRESS", text, "--bootstrap /ip4/192.0.2.7/tcp/4801/p2p/12D3Koo…", Exit.USAGE)
    _refuse_to_overwrite(home)
    if not as_json:
        print(PUBLIC, file=sys.stderr)
    memory, disk = _asked(memory, disk, ask=not as_json and sys.stdin.isatty() and sys.stderr.isatty())
    account, device, peer = _keys(home)
    write_settings(home.settings, Settings(bootstrap=tuple(bootstrap), memory=memory, disk=disk))
    _write_once(home.genesis, cbor.encode(genesis))  # last: a home without it is not one yet
    if as_json:
        data = {
            "home": str(home.folder),
            "network": {"id": genesis.id.hex(), "name": genesis.name},
            "account": account,
            "device": device,
            "peer": peer,
            "bootstrap": list(bootstrap),
            "memory": memory,
            "disk": disk,
        }
        print(json_answer("init", data))
        return
    print(f"home     {home.folder}")
    print(f"network  {genesis.name} {genesis.id.hex()}")
    print(f"account  {account}")
    print(f"device   {device}")
    print(f"limits   {memory} MiB of memory, {disk} MiB of disk: {home.settings}")
    if not bootstrap:
        print("No --bootstrap was given: add an address to `bootstrap` in the settings.", file=sys.stderr)
    for name in ("doctor", "run"):
        print(f"→ {command(name, '--home', home.folder)}", file=sys.stderr)


def _read_genesis(file: Path) -> Genesis:
    try:
        if file.stat().st_size > MOST_GENESIS_BYTES:
            raise CommandFailed("GENESIS_WRONG", f"{file} is too large for a genesis.", "Get the network's file again.")
        return read_genesis(file.read_bytes())
    except OSError as error:
        text = f"The genesis file {file} cannot be read: {error.strerror}."
        remedy = "Name the network's genesis file with --genesis."
        raise CommandFailed("GENESIS_WRONG", text, remedy, Exit.USAGE) from None
    except Rejected as error:
        text = f"{file} is no genesis: {error}"
        raise CommandFailed("GENESIS_WRONG", text, "Get the network's genesis file again.") from None


def _refuse_to_overwrite(home: Home) -> None:
    for file in (home.genesis, home.settings):
        if file.exists():
            text = f"{home.folder} is a home already: {file.name} is there, and nothing is overwritten."
            remedy = f"Choose another --home, or use it: {command('run', '--home', home.folder)}"
            raise CommandFailed("HOME_EXISTS", text, remedy, Exit.REFUSED)


def _asked(memory: int | None, disk: int | None, *, ask: bool) -> tuple[int, int]:
    """The limits in MiB: as given, as a person answers, or the defaults."""
    defaults = Settings()
    if ask:
        import typer

        if memory is None:
            memory = typer.prompt("Memory that evaluations may take, in MiB", defaults.memory, type=int, err=True)
        if disk is None:
            disk = typer.prompt("Disk that models may take, in MiB", defaults.disk, type=int, err=True)
    memory = defaults.memory if memory is None else memory
    disk = defaults.disk if disk is None else disk
    if memory < 256 or disk < 64:
        text = f"{memory} MiB of memory and {disk} MiB of disk are too little: at least 256 and 64."
        raise CommandFailed("TOO_LITTLE", text, "Give more with --memory and --disk.", Exit.USAGE)
    return memory, disk


def _keys(home: Home) -> tuple[str, str, str]:
    """The public keys in hex and the peer id; keys that are there already are kept."""
    try:
        home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity = load_identity(home.account_key, home.device_key)
        return identity.account.public.hex(), identity.device.public.hex(), peer_id(load_peer_key(home.peer_key))
    except (KeyFileDamaged, PeerKeyError) as error:
        raise CommandFailed("KEY_UNUSABLE", str(error), f"Look at the key files in {home.folder}.") from None
    except OSError as error:
        text = f"{home.folder} cannot be written: {error.strerror}."
        raise CommandFailed("HOME_UNUSABLE", text, "Choose another folder with --home.") from None


def _write_once(file: Path, content: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(content)
