"""Every reason has a sentence, and is given somewhere: no reason that nothing raises."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import protocol
from protocol.failures import Failure
from protocol.rejections import Rejected, Rejection

SOURCES = [path for path in Path(protocol.__path__[0]).glob("*.py") if path.name != "rejections.py"]


def _given(tree: ast.AST) -> Iterator[str]:
    """Members that code raises, returns or hands on; not those that a value is only compared with."""
    if isinstance(tree, ast.Compare | ast.Set | ast.MatchValue):
        return
    if isinstance(tree, ast.Attribute) and isinstance(tree.value, ast.Name) and tree.value.id == "Rejection":
        yield tree.attr
    for node in ast.iter_child_nodes(tree):
        yield from _given(node)


def test_every_reason_is_given_somewhere() -> None:
    given = {name for path in SOURCES for name in _given(ast.parse(path.read_text(encoding="utf-8")))}
    assert given == {reason.name for reason in Rejection}


def test_a_reason_that_is_only_compared_with_is_not_given() -> None:
    assert not list(_given(ast.parse("if reason is Rejection.VOID_LATE: x = {Rejection.VOID_QUOTA}")))
    assert list(_given(ast.parse("def f():\n  return None if x else Rejection.VOID_LATE"))) == ["VOID_LATE"]


@pytest.mark.parametrize("reason", [*Rejection, *Failure], ids=lambda reason: reason.name)
def test_every_reason_has_a_sentence(reason: Rejection | Failure) -> None:
    assert reason.sentence[0].isupper() or reason.sentence.startswith("llama.cpp")
    assert reason.sentence.endswith(".")


def test_sentences_differ() -> None:
    sentences = [reason.sentence for reason in (*Rejection, *Failure)]
    assert len(set(sentences)) == len(sentences)


def test_names_and_values_say_where_a_reason_belongs() -> None:
    for reason in Rejection:
        assert reason.value == reason.name.lower()
        assert reason.is_stateless != reason.name.startswith("VOID_")


def test_a_rejection_says_what_and_why() -> None:
    rejected = Rejected(Rejection.TOO_LARGE, "40 bytes.")
    assert str(rejected) == f"{Rejection.TOO_LARGE.sentence} 40 bytes."
    assert (rejected.reason, rejected.detail) == (Rejection.TOO_LARGE, "40 bytes.")
