"""The predicate of `protocol.signing` against the same predicate written out in integers.

`forge` makes signatures that no honest signer would: keys and commitments with a component of small order,
encodings that are not canonical, S beyond the order of the group. Every class of "Taming the many EdDSAs"
is among them.
"""

import hashlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.signing import PrivateKey, verify

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
SIGN = 1 << 255

Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(first: Point, second: Point) -> Point:
    (x1, y1), (x2, y2) = first, second
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def multiply(scalar: int, point: Point) -> Point:
    total = NEUTRAL
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total


def encode(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """The point of an encoding, canonical or not; None where there is none."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number % SIGN % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P:
        return None
    return (x if x & 1 == sign else -x % P), y


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
assert BASE is not None


def challenge(commitment: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(commitment + public + message).digest(), "little") % L


def predicate(public: bytes, message: bytes, signature: bytes) -> bool:
    """The four clauses of the module, one after the other."""
    assert BASE is not None
    commitment, s = signature[:32], int.from_bytes(signature[32:], "little")
    key_point, commitment_point = decode(public), decode(commitment)
    if key_point is None or commitment_point is None:
        return False
    if encode(key_point) != public or encode(commitment_point) != commitment or s >= L:
        return False
    if multiply(8, key_point) == NEUTRAL or multiply(8, commitment_point) == NEUTRAL:
        return False
    right = add(commitment_point, multiply(challenge(commitment, public, message), key_point))
    return multiply(s, BASE) == right


def _point_of_order_8() -> Point:
    for y in itertools.count(2):
        point = decode(y.to_bytes(32, "little"))
        if point and multiply(4, torsion := multiply(L, point)) != NEUTRAL:
            return torsion
    raise AssertionError


TORSION = _point_of_order_8()
SMALL = [multiply(i, TORSION) for i in range(8)]
ALL_ENCODINGS = sorted(
    (number | sign).to_bytes(32, "little")
    for y in {y for _, y in SMALL}
    for number in (y, y + P)
    for sign in (0, SIGN)
    if number < SIGN
)


def forge(
    secret: int,
    key_torsion: int,
    nonce: int,
    commitment_torsion: int,
    message: bytes,
    *,
    key_encoding: bytes | None = None,
    commitment_encoding: bytes | None = None,
    laps: int = 0,
) -> tuple[bytes, bytes, bytes]:
    """(public, message, signature): the equation holds up to a point of small order."""
    assert BASE is not None
    key_point = add(multiply(secret, BASE), SMALL[key_torsion])
    commitment_point = add(multiply(nonce, BASE), SMALL[commitment_torsion])
    public, commitment = key_encoding or encode(key_point), commitment_encoding or encode(commitment_point)
    s = (nonce + challenge(commitment, public, message) * secret) % L + laps * L
    return public, message, commitment + s.to_bytes(32, "little")


def equation_holds(public: bytes, message: bytes, signature: bytes) -> bool:
    assert BASE is not None
    key_point, commitment_point = decode(public), decode(signature[:32])
    assert key_point is not None
    assert commitment_point is not None
    k = challenge(signature[:32], public, message)
    return multiply(int.from_bytes(signature[32:], "little"), BASE) == add(commitment_point, multiply(k, key_point))


MINUS_ONE_WITH_SIGN = (P - 1 | SIGN).to_bytes(32, "little")  # the point (0, -1), encoded as x = -0

CASES = {
    0: ({"secret": 0, "key_torsion": 1, "nonce": 0, "commitment_torsion": 3}, True, False),
    1: ({"secret": 0, "key_torsion": 1, "nonce": 77, "commitment_torsion": 5}, True, False),
    2: ({"secret": 99, "key_torsion": 1, "nonce": 0, "commitment_torsion": 5}, True, False),
    3: ({"secret": 99, "key_torsion": 1, "nonce": 77, "commitment_torsion": 5}, True, True),
    4: ({"secret": 99, "key_torsion": 1, "nonce": 77, "commitment_torsion": 5}, False, False),
    5: ({"secret": 99, "key_torsion": 1, "nonce": 77, "commitment_torsion": 0}, False, False),
    6: ({"secret": 99, "key_torsion": 0, "nonce": 77, "commitment_torsion": 0, "laps": 1}, True, False),
    7: ({"secret": 99, "key_torsion": 0, "nonce": 77, "commitment_torsion": 0, "laps": 14}, True, False),
    8: (
        {
            "secret": 99,
            "key_torsion": 1,
            "nonce": 0,
            "commitment_torsion": 4,
            "commitment_encoding": MINUS_ONE_WITH_SIGN,
        },
        False,
        False,
    ),
    9: (
        {
            "secret": 99,
            "key_torsion": 1,
            "nonce": 0,
            "commitment_torsion": 4,
            "commitment_encoding": MINUS_ONE_WITH_SIGN,
        },
        True,
        False,
    ),
    10: (
        {
            "secret": 0,
            "key_torsion": 4,
            "nonce": 77,
            "commitment_torsion": 4,
            "key_encoding": MINUS_ONE_WITH_SIGN,
        },
        False,
        False,
    ),
    11: (
        {
            "secret": 0,
            "key_torsion": 4,
            "nonce": 77,
            "commitment_torsion": 4,
            "key_encoding": MINUS_ONE_WITH_SIGN,
        },
        True,
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_class_of_edge_case_has_the_documented_verdict(case: int) -> None:
    arguments, holds, valid = CASES[case]
    for counter in range(256):
        forged = forge(**arguments, message=b"message %d" % counter)  # type: ignore[arg-type]
        if equation_holds(*forged) == holds:
            break
    else:
        pytest.fail("no message of this class found")
    assert predicate(*forged) == valid
    assert verify(*forged) == valid


@settings(max_examples=60, deadline=None)
@given(
    secret=st.sampled_from([0, 1, 99, L - 1]),
    key_torsion=st.integers(0, 7),
    nonce=st.sampled_from([0, 1, 77, L - 2]),
    commitment_torsion=st.integers(0, 7),
    message=st.binary(max_size=4),
    laps=st.sampled_from([0, 0, 0, 1, 2, 14]),
)
def test_forged_signatures_are_judged_by_the_predicate(
    secret: int, key_torsion: int, nonce: int, commitment_torsion: int, message: bytes, laps: int
) -> None:
    forged = forge(secret, key_torsion, nonce, commitment_torsion, message, laps=laps)
    assert verify(*forged) == predicate(*forged)


@pytest.mark.parametrize("encoding", ALL_ENCODINGS, ids=bytes.hex)
def test_no_encoding_of_a_small_order_point_is_accepted_anywhere(encoding: bytes) -> None:
    for counter in range(16):
        message = b"%d" % counter
        assert not verify(*forge(0, 0, 77, counter % 8, message, key_encoding=encoding))
        assert not verify(*forge(99, counter % 8, 0, 0, message, commitment_encoding=encoding))


def test_all_encodings_of_small_order_points_are_covered() -> None:
    """Eight points; four more spellings with y >= p, two with the sign of zero."""
    assert len({decode(encoding) for encoding in ALL_ENCODINGS}) == 8
    assert len(ALL_ENCODINGS) == 14


RFC_8032 = [  # section 7.1, tests 1 to 3: seed, public key, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    key = PrivateKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verify(key.public, bytes.fromhex(message), bytes.fromhex(signature))
    assert predicate(key.public, bytes.fromhex(message), bytes.fromhex(signature))


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(), bit=st.integers(0, 511))
def test_a_flipped_bit_fails(seed: bytes, message: bytes, bit: int) -> None:
    key = PrivateKey(seed)
    signature = bytearray(key.sign(message))
    assert verify(key.public, message, bytes(signature))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(key.public, message, bytes(signature))


@given(public=st.binary(max_size=70), message=st.binary(max_size=5), signature=st.binary(max_size=70))
def test_arbitrary_bytes_are_a_verdict_never_an_error(public: bytes, message: bytes, signature: bytes) -> None:
    assert verify(public, message, signature) is False


def test_a_key_keeps_its_secret_to_itself() -> None:
    key = PrivateKey(bytes(32))
    assert key.seed == bytes(32)
    assert key.seed.hex() not in repr(key)
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        PrivateKey(bytes(31))
