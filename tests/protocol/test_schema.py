"""The code and the CDDL say the same: what one accepts the other accepts, within the limits and beyond them."""

import importlib
import pkgutil
import re
import typing
from enum import Enum
from importlib import resources
from typing import Any

import cbor2
import pytest
from cddl_verifier import Validator
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields

import protocol
from protocol import cbor
from protocol.audits import Sight
from protocol.definitions import ModelType, TaskKind
from protocol.envelope import open_envelope, seal
from protocol.evidence import EVIDENCE
from protocol.failures import Failure
from protocol.genesis import Genesis
from protocol.messages import KINDS, STRUCTS, Unknown
from protocol.receipts import Receipt
from protocol.rejections import Rejected
from protocol.signing import PrivateKey
from protocol.snapshot import SignedSnapshot
from protocol.texts import TextDocument
from protocol.transcripts import Stop, Transcript
from tests.protocol.message_values import changed, values

SCHEMA = resources.files("protocol").joinpath("schema.cddl").read_text(encoding="utf-8")
ROOTS = [*STRUCTS.values(), Genesis, TextDocument, Receipt, *EVIDENCE.values(), SignedSnapshot, Transcript]
VALIDATOR = Validator(SCHEMA)
KEY = PrivateKey(b"k" * 32)
NETWORK = b"n" * 32


def rule_of(struct: type[Struct | Enum]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", struct.__name__).lower()


def fits(rule: str, data: bytes) -> bool:
    return bool(VALIDATOR.validate(data, root_type=rule, require_deterministic=True).valid)


def reads(struct: type[Struct], data: bytes) -> bool:
    try:
        value = cbor.decode(data, struct)
    except Rejected:
        return False
    assert cbor.encode(value) == data
    return True


@pytest.mark.parametrize("numbers", [ModelType, TaskKind, Sight, Failure, Stop], ids=rule_of)
def test_enums_are_the_schemas(numbers: type[Enum]) -> None:
    """Which no random value shows for certain."""
    (choices,) = re.findall(rf"^{rule_of(numbers)} = &\(([^)]*)\)", SCHEMA, re.MULTILINE)
    written = {name: int(value) for name, value in re.findall(r"([a-z0-9-]+): (\d+)", choices)}
    assert written == {each.name.lower().replace("_", "-"): each.value for each in numbers}


@pytest.mark.parametrize("struct", ROOTS, ids=rule_of)
def test_code_and_schema_agree(struct: type[Struct]) -> None:
    rule = rule_of(struct)

    @given(st.data())
    def agree(data: st.DataObject) -> None:
        whole = cbor.encode(data.draw(values(struct)))
        assert reads(struct, whole)
        assert fits(rule, whole)
        other = cbor2.dumps(data.draw(changed(cbor2.loads(whole))), canonical=True)
        if struct in (TextDocument, SignedSnapshot):  # the order of passages and of parts is beyond CDDL
            assert reads(struct, other) <= fits(rule, other)
        else:
            assert reads(struct, other) == fits(rule, other)

    agree()


def _named_rules() -> dict[str, list[str]]:
    """Of every rule of the schema that is a map with numbers as keys: the names in its comments."""
    rules = re.findall(r"^([a-z-]+) = \{\n(.*?)^\}$", SCHEMA, re.MULTILINE | re.DOTALL)
    named = {}
    for rule, body in rules:
        lines = [re.match(r"\s*(?:\? )?(\d+):.*; ([a-z0-9_]+)", line) for line in body.splitlines()]
        keyed = [line for line in lines if line]
        if rule != "header":
            assert [int(line[1]) for line in keyed] == list(range(len(keyed))), rule
            named[rule] = [line[2] for line in keyed]
    return named


def _structs_within(kind: Any) -> set[type[Struct]]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        hints = typing.get_type_hints(kind, include_extras=True).values()
        return {kind}.union(*(_structs_within(hint) for hint in hints))
    return set().union(*(_structs_within(part) for part in typing.get_args(kind)))


def test_the_schema_names_the_fields_of_every_struct() -> None:
    structs = set().union(*map(_structs_within, ROOTS))
    assert _named_rules() == {rule_of(struct): [field.name for field in fields(struct)] for struct in structs}


def test_what_travels_is_frozen_and_has_no_other_fields() -> None:
    for struct in set().union(*map(_structs_within, ROOTS)):
        assert struct.__struct_config__.frozen, struct
        assert struct.__struct_config__.forbid_unknown_fields, struct


def test_records_are_frozen() -> None:
    """Whoever changes one sets another in its table, so that the digest follows: in place nothing can be changed."""
    modules = [importlib.import_module(f"protocol.{found.name}") for found in pkgutil.iter_modules(protocol.__path__)]
    structs = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == module.__name__
    }
    assert len(structs) > 60
    assert not [struct for struct in structs if not struct.__struct_config__.frozen]


def test_the_schema_lists_every_kind() -> None:
    for rule, structs in (("content", STRUCTS), ("evidence", EVIDENCE)):
        body = re.split(rf"^{rule} = ", SCHEMA, flags=re.MULTILINE)[1].split("\n\n")[0]
        listed = dict(re.findall(r"\[(\d+), ([a-z-]+)\]", body))
        assert listed == {str(int(kind)): rule_of(struct) for kind, struct in structs.items()}


@pytest.mark.parametrize("struct", STRUCTS.values(), ids=rule_of)
@given(data=st.data())
def test_envelopes_fit_the_schema(struct: type[Struct], data: st.DataObject) -> None:
    message = data.draw(values(struct))
    sealed = seal(KEY, NETWORK, message)
    assert fits("envelope", sealed.data)
    protected, _, payload, _ = cbor2.loads(sealed.data).value
    assert fits("header", protected)
    assert cbor2.loads(payload)[0] == KINDS[struct]
    assert fits("content", payload)
    signed = cbor2.dumps(["Signature1", protected, NETWORK, payload])
    assert fits("signed", signed)


@pytest.mark.parametrize("kind", [-1, 15, 255, 256])
def test_kinds_of_newer_versions_are_those_of_the_schema(kind: int) -> None:
    payload = cbor2.dumps([kind, {0: "news"}])
    protected = cbor.encode({1: -19, 4: KEY.public})
    signature = KEY.sign(cbor.encode(("Signature1", protected, NETWORK, payload)))
    data = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))
    try:
        opened = open_envelope(data, NETWORK).message == Unknown(kind)
    except Rejected:
        opened = False
    assert opened == fits("content", payload)
