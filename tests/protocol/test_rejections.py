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
    """Members that a function raises, returns or yields; not those that are only compared with."""
    for node in ast.walk(tree):
        gives = isinstance(node, ast.Raise | ast.Return | ast.Yield) or _makes_rejected(node)
        if gives:
            yield from (part.attr for part in ast.walk(node) if _is_member(part))


def _makes_rejected(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rejected"


def _is_member(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Rejection"


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
