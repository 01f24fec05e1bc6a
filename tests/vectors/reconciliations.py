"""Vectors of set reconciliation: whole talks of two sides, and messages that are none."""

from collections.abc import Iterator
from typing import Any

from protocol.reconciliation import ItemSet, Reconciler, respond
from protocol.reconciliation_format import VERSION, InvalidMessage
from tests.vectors.files import Case, Compute, Input, sha

ROUNDS = 16


def _items(given: list[str]) -> ItemSet:
    pairs = (item.split(" ") for item in given)
    return ItemSet((int(epoch), bytes.fromhex(identity)) for epoch, identity in pairs)


def _talk(given: Input) -> Any:
    asking = Reconciler(_items(given["asking"]), given["frame_limit"], {bytes.fromhex(i) for i in given["refused"]})
    answering = _items(given["answering"])
    message: bytes | None = asking.initiate()
    messages: list[str] = []
    have: list[bytes] = []
    need: list[bytes] = []
    while message is not None and len(messages) < 2 * ROUNDS:
        answer = respond(answering, message, given["frame_limit"])
        messages += [message.hex(), answer.hex()]
        step = asking.reconcile(answer)
        message = step.reply
        have += step.have
        need += step.need
    return {"messages": messages, "have": len(have), "need": len(need)}


def _answer(given: Input) -> Any:
    try:
        return respond(_items(given["answering"]), bytes.fromhex(given["message"])).hex()
    except InvalidMessage:
        return None


COMPUTES: dict[str, Compute] = {"talk": _talk, "answer": _answer}


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""

    def items(*numbers: int) -> list[str]:
        return [f"{number % 3} {sha('item', number).hex()}" for number in numbers]

    few = items(*range(4))
    talk = {"asking": few, "answering": few, "frame_limit": 4096, "refused": []}
    yield "nothing on both sides", "talk", {**talk, "asking": [], "answering": []}
    yield "the same few", "talk", talk
    yield "nothing asks few", "talk", {**talk, "asking": []}
    yield "few ask nothing", "talk", {**talk, "answering": []}
    yield "one id refused", "talk", {**talk, "asking": [], "refused": [few[1].split(" ")[1]]}
    most, other = items(*range(24)), items(*range(1, 20), 60)
    yield "24 and 20 items", "talk", {**talk, "asking": most, "answering": other}
    many = [f"7 {sha('many', number).hex()}" for number in range(140)]
    yield "more ids than fit into a frame", "talk", {**talk, "asking": [], "answering": many}
    answer = {"answering": few}
    listed = f"{VERSION:02x}00000200"
    for name, message in (
        ("an empty list", listed),
        ("nothing said", f"{VERSION:02x}"),
        ("another version", "62"),
        ("another protocol", "41"),
        ("no bytes", ""),
        ("a number with a leading zero digit", f"{VERSION:02x}8000000200"),
        ("an unknown mode", f"{VERSION:02x}000003"),
        ("a cut fingerprint", f"{VERSION:02x}00000100"),
        ("more after infinity", listed + "000000"),
        ("a bound of 33 bytes", f"{VERSION:02x}0121" + "00" * 33 + "00"),
    ):
        yield name, "answer", {**answer, "message": message}
