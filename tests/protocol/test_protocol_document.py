"""docs/protocol.md says what the code says: tables, domain tags, limits; and the package lists its modules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import protocol
from node.exchange import ENVELOPES, PORTION_IDS, RECONCILE, ROUNDS
from node.log_reader import LOG, PORTION_ENTRIES, checkpoints_topic
from node.log_watch import EVIDENCE
from node.mark_watch import MARK, marks_topic
from node.network import REQUEST_MAXIMUM, RESPONSE_MAXIMUM
from node.reach import PEERS
from node.receipt_keeper import RECEIPTS
from node.replica import TIMELESS
from node.shards import envelopes_topic
from node.tile_requests import MOST_PATHS, TILES
from node.transcripts import MOST_WANTED, PORTION_BYTES, TRANSCRIPT_BYTES, TRANSCRIPTS
from node.tree_requests import TREE
from protocol.ledger import PROTOCOL_VERSION
from tests.vectors.document import BLOCK, DIGESTS, FILE, MAKERS, filled, state_tables

TEXT = FILE.read_text(encoding="utf-8")
THREATS = FILE.with_name("threats.md").read_text(encoding="utf-8")
WORDS = " ".join(TEXT.split())
MODULES = {path.stem: path for path in Path(protocol.__path__[0]).glob("*.py") if path.stem != "__init__"}
TAG = re.compile(r"peerboard/[a-z-]+/[0-9]+")


def test_the_tables_are_those_of_the_code() -> None:
    assert filled(TEXT) == TEXT, "python -m tests.vectors.document"


def test_every_table_has_its_place() -> None:
    assert sorted(block["name"] for block in BLOCK.finditer(TEXT)) == sorted(MAKERS)


def test_a_stale_table_is_found() -> None:
    assert filled(TEXT.replace("| `too_large` |", "| `too_small` |")) == TEXT


def _constants() -> Iterator[str]:
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def test_every_domain_tag_is_explained() -> None:
    found = {match[0] for text in _constants() if (match := TAG.fullmatch(text.removesuffix("\0")))}
    assert found == DIGESTS.keys()
    assert found <= set(TAG.findall(TEXT))


def _digests() -> Iterator[tuple[str, int]]:
    """Tag and number of parts of each digest that the code makes, at once or from the pieces around some parts."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in {"digest", "around"} and isinstance(first, ast.Constant):
                    yield str(first.value), len(node.args) - 1


def test_digests_have_the_parts_that_are_explained() -> None:
    found = dict(_digests())
    assert found == {tag: len(DIGESTS[tag][1]) for tag in found}
    assert DIGESTS.keys() - found == {
        "peerboard/fingerprint/1",
        "peerboard/receipt/1",
        "peerboard/sighting/1",
        "peerboard/snapshot/1",
    }


def test_the_tables_of_the_state_are_in_the_order_of_the_digest() -> None:
    assert state_tables()[:3] == ["devices", "revoked", "persons"]
    assert len(state_tables()) == len(set(state_tables()))


def test_what_goes_between_nodes() -> None:
    network = bytes(32)
    for topic in (envelopes_topic(network), checkpoints_topic(network), marks_topic(network)):
        assert f"`{topic.replace(network.hex()[:32], 'NET')}`" in WORDS
    for name in (LOG, RECONCILE, ENVELOPES, TRANSCRIPTS, TREE, TILES, RECEIPTS, EVIDENCE, MARK, PEERS):
        assert f"`{name}`" in WORDS
    assert f"`most` ≤ {PORTION_ENTRIES:,}" in WORDS
    assert f"`tile/entries/x001/234`), ≤ {MOST_PATHS} |" in WORDS
    assert f"≤ {PORTION_IDS:,} each" in WORDS
    assert f"transcripts wanted, ≤ {MOST_WANTED}" in WORDS
    assert f"each ≤ {TRANSCRIPT_BYTES >> 20} MiB, ≤ {PORTION_BYTES >> 20} MiB in all" in WORDS
    assert f"stops after {ROUNDS} rounds" in WORDS
    assert f"at most {REQUEST_MAXIMUM >> 20} MiB, a response {RESPONSE_MAXIMUM >> 20} MiB" in WORDS
    assert f"This program folds versions up to {PROTOCOL_VERSION}" in WORDS
    assert TIMELESS == 2**63 - 1
    assert "2^63 − 1 where it has none" in WORDS


def test_every_module_is_listed_in_the_package() -> None:
    listed = re.findall(r"^`([a-z_]+)`  ", protocol.__doc__ or "", re.MULTILINE)
    assert sorted(listed) == sorted(MODULES)


def test_threats_name_rules_that_there_are() -> None:
    heads = re.findall(r"^### (.+)$", THREATS, re.MULTILINE)
    rows = [line.split(" | ") for line in THREATS.splitlines() if line.startswith("| [")]
    named = [re.findall(r"\[(.+)\]\(#(.+)\)", row[0])[0] for row in rows]
    assert sorted(name for name, _ in named) == sorted(heads)
    assert [anchor for name, anchor in named if anchor != _anchor(name)] == []
    rules = {module for row in rows for module in re.findall(r"`([a-z]+)`", row[2])}
    assert rules - {"saw", "eval"} <= MODULES.keys()


def _anchor(head: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-")


def test_links_within_the_document_lead_somewhere() -> None:
    heads = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    anchors = {_anchor(head) for head in heads}
    assert set(re.findall(r"\(#([a-z0-9-]+)\)", TEXT)) == anchors
    for target in re.findall(r"\]\((?!#)([^)]+)\)", TEXT):
        assert (FILE.parent / target).is_file()
