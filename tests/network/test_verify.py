"""`peerboard verify`: a stranger recomputes what the bootstrap published, and finds what was changed."""

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio.testing

from bootstrap.publication import Publication
from peerboard import verification
from peerboard.cli import main
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.envelope import open_envelope
from protocol.evidence import Fork, encode_evidence
from protocol.merkle import Frontier, leaf_hash
from protocol.receipts import encode_receipt, issue
from protocol.snapshot import open_snapshot, sign_snapshot
from protocol.tiles import Tile, decode_bundle, encode_bundle, grow

START = 1_800_000_000
NAMES = ("ada", "ben", "cleo")
MockClock = trio.testing.MockClock
Kit = Any  # the class of conftest.py, which tests cannot import
Verify = Callable[..., tuple[int, Any]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which snapshots expire."""
    times = [float(START + 200)]
    monkeypatch.setattr(verification, "time", SimpleNamespace(time=lambda: times[0], sleep=lambda seconds: None))
    return times


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str], clock: list[float]) -> Verify:
    """Runs the command; its exit code, and its JSON."""

    def run(*arguments: object) -> tuple[int, Any]:
        capsys.readouterr()  # what the network said
        with pytest.raises(SystemExit) as ended:
            main(["verify", *map(str, arguments), "--json"])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A plain web server of the published folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "public"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


class Published:
    """What was published, with the means of a log key that lies."""

    def __init__(self, folder: Path, signer: Any, network: bytes) -> None:
        self.folder = folder
        self.signer = signer
        self.network = network

    def copy(self, name: str) -> "Published":
        other = self.folder.with_name(name)
        shutil.copytree(self.folder, other)
        return Published(other, self.signer, self.network)

    def entries(self) -> list[bytes]:
        files = sorted((self.folder / "tile" / "entries").glob("**/*"), key=lambda file: file.stat().st_mtime_ns)
        newest = [file for file in files if file.is_file()][-1]
        return decode_bundle(newest.read_bytes(), int(newest.name))

    def write_log(self, entries: list[bytes]) -> None:
        """Tiles, bundles and a signed checkpoint for these entries (fewer than a full tile)."""
        shutil.rmtree(self.folder / "tile")
        files = {f"tile/entries/000.p/{len(entries)}": encode_bundle(entries)}
        grown = grow(lambda tile: b"", 0, [leaf_hash(entry) for entry in entries])
        files |= {tile.path: content for tile, content in grown.items()}
        for path, content in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)
        root = Frontier().extend(leaf_hash(entry) for entry in entries).root
        self.sign(len(entries), root)

    def sign(self, size: int, root: bytes) -> bytes:
        note = sign_checkpoint(Checkpoint(self.signer.verifier.name, size, root), self.signer).encode()
        (self.folder / "checkpoint").write_bytes(note)
        return note


async def publish(kit: Kit, folder: Path) -> Published:
    """A network of three epochs, witnessed, with what its bootstrap publishes."""
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    fixed = kit.genesis(witnesses=tuple(kit.witness(name).public for name in NAMES))
    async with kit.network(evaluators, fixed) as network:
        publication = Publication(network.cores["bootstrap"], folder / "public")
        for minute in (1, 2, 3):
            await network.until(60 * minute + 10)
            await publication.publish()
            (folder / f"board-{minute}.json").write_bytes(network.board("ada"))
            (folder / f"note-{minute}").write_bytes(network.cores["ben"].log_reader.note)
        await network.until(3 * 60 + 20)
        (folder / "later.json").write_bytes(network.board("ada"))
        signer = network._writers["bootstrap"]._signer
        return Published(folder / "public", signer, fixed.id)


def failed(answer: Any) -> tuple[str, str]:
    (step,) = [step for step in answer["data"]["steps"] if not step["ok"]]
    return step["step"], step["found"]


async def test_a_stranger_verifies_and_finds_what_was_changed(
    kit: Kit, autojump_clock: MockClock, tmp_path: Path, verify: Verify, served: str, clock: list[float]
) -> None:
    public = await publish(kit, tmp_path)
    code, answer = verify(public.folder)
    assert code == 0, answer
    found = answer["data"]
    assert found["matches"]
    assert found["network"] == public.network.hex()
    assert [step["step"] for step in found["steps"]] == [
        "genesis",
        "tree",
        "ledger",
        "tiles",
        "checkpoint",
        "witnesses",
        "snapshot",
        "contents",
    ]
    assert {each["code"] for each in answer["warnings"]} == {"NETWORK_NOT_PINNED"}
    code, answer = verify(served, "--network", public.network.hex())
    assert code == 0, answer
    assert answer["warnings"] == []
    assert verify("http://127.0.0.1:1/")[0] == 3
    assert verify(tmp_path / "nothing")[0] == 5
    assert verify(public.folder, "--network", "00" * 32)[0] == 5
    clock[0] += 3600
    code, answer = verify(public.folder)
    assert code == 0
    assert "EXPIRED" in {each["code"] for each in answer["warnings"]}
    clock[0] -= 3600
    with pytest.raises(SystemExit) as ended:
        main(["bootstrap", "export", str(tmp_path / "mirror"), "--home", str(tmp_path)])
    assert not ended.value.code
    assert verify(tmp_path / "mirror")[0] == 0
    _files_that_are_handed_over(public, tmp_path, verify)
    _a_folder_that_was_changed(public, verify)
    _a_log_key_that_lies(public, verify)


def _files_that_are_handed_over(public: Published, folder: Path, verify: Verify) -> None:
    good = public.folder
    for name in ("board-1.json", "board-3.json", "note-1", "note-2"):
        code, answer = verify(good, "--proof", folder / name)
        assert code == 0, answer
        assert answer["data"]["steps"][-1]["step"] == "proof"
    board = (folder / "board-2.json").read_bytes()
    changed = folder / "changed.json"
    row = json.loads(board)["data"]["rows"][0]
    changed.write_bytes(board.replace(b'"score":%s' % str(row["score"]).encode(), b'"score":99.9', 1))
    code, answer = verify(good, "--proof", changed)
    assert code == 5
    step, text = failed(answer)
    assert step == "proof"
    for word in ("99.9", str(row["score"]), row["name"]):
        assert word in text
    newer = json.loads(board)
    newer["checkpoint"]["size"] += 1000
    changed.write_bytes(json.dumps(newer, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    assert "ask for a newer one" in failed(verify(good, "--proof", changed)[1])[1]
    changed.write_bytes(b"{}")
    assert verify(good, "--proof", changed)[0] == 5
    assert verify(good, "--proof", folder / "absent")[0] == 2
    # A second history, as a saved note and as evidence.
    other = public.copy("other")
    forged = other.sign(10, bytes(32))
    (folder / "forged").write_bytes(forged)
    assert "two histories" in failed(verify(good, "--proof", folder / "forged")[1])[1]
    again = other.sign(10, b"\1" * 32)
    evidence = folder / "fork.evidence"
    evidence.write_bytes(encode_evidence(Fork((), forged, again)))
    assert verify("--proof", evidence, "--genesis", good / "genesis.cbor")[0] == 0
    assert verify(good, "--proof", evidence)[0] == 0
    evidence.write_bytes(encode_evidence(Fork((), forged, forged)))
    assert verify("--proof", evidence, "--genesis", good / "genesis.cbor")[0] == 5
    # Receipts: one that the log kept, and one that it did not.
    entry = open_envelope(public.entries()[5], public.network)
    receipt = folder / "receipt"
    receipt.write_bytes(encode_receipt(issue(public.signer.private, public.network, entry.id, 9, 4)))
    assert verify(good, "--proof", receipt)[0] == 0
    receipt.write_bytes(encode_receipt(issue(public.signer.private, public.network, bytes(32), 9, 4)))
    assert "did not log it" in failed(verify(good, "--proof", receipt)[1])[1]


def _a_folder_that_was_changed(public: Published, verify: Verify) -> None:
    """Somebody between the bootstrap and the reader changes files, without the log's key."""
    cases: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "checkpoint": ("checkpoint", lambda data: data.replace(b"peerboard/", b"peerboarb/")),
        "contents": ("snapshot/4/leaderboard.json", lambda data: data.replace(b'"DONE"', b'"FAILED"', 1)),
        "genesis": ("genesis.cbor", lambda data: b"\xa0"),
    }
    for step, (name, change) in cases.items():
        bad = public.copy(f"changed-{step}")
        before = (bad.folder / name).read_bytes()
        (bad.folder / name).write_bytes(change(before))
        assert (bad.folder / name).read_bytes() != before
        code, answer = verify(bad.folder)
        assert (code, failed(answer)[0]) == (5, step)
    bad = public.copy("changed-tile")
    tile = bad.folder / Tile(0, 0, len(public.entries())).path
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    assert failed(verify(bad.folder)[1])[0] == "tiles"
    bad = public.copy("changed-entry")
    entries = public.entries()
    bundle = bad.folder / f"tile/entries/000.p/{len(entries)}"
    bundle.write_bytes(encode_bundle([*entries[:7], entries[8], entries[7], *entries[9:]]))
    assert failed(verify(bad.folder)[1])[0] in {"tree", "ledger"}
    bundle.unlink()
    assert failed(verify(bad.folder)[1])[0] == "entries"


def _a_log_key_that_lies(public: Published, verify: Verify) -> None:
    """The log's key signs whatever it likes: what does not follow from the entries is found all the same."""
    entries = public.entries()
    bad = public.copy("left-out")
    bad.write_log([*entries[:6], *entries[7:]])
    code, answer = verify(bad.folder)
    assert (code, failed(answer)[0]) == (5, "ledger")
    index = next(step["index"] for step in answer["data"]["steps"] if not step["ok"])
    assert index is not None, "the first mark behind what was left out"
    bad = public.copy("wrong-snapshot")
    signed = (bad.folder / "snapshot.cbor").read_bytes()
    snapshot = open_snapshot(signed, public.network, public.signer.private.public)
    fields = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__} | {"state": bytes(32)}
    (bad.folder / "snapshot.cbor").write_bytes(sign_snapshot(public.signer.private, type(snapshot)(**fields)))
    assert failed(verify(bad.folder)[1])[0] == "snapshot"
    bad = public.copy("no-witness")
    bad.write_log(entries)
    code, answer = verify(bad.folder)
    assert code == 0
    assert "UNWITNESSED" in {each["code"] for each in answer["warnings"]}
