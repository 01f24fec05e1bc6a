"""Ed25519 (RFC 8032), and one exact predicate for which signatures are valid.

Libraries differ on signatures that no honest signer makes, and two nodes that differ on one message part
for ever. So a signature (R, S) of a message M under a key A is valid if and only if all of these hold:

1. A and R have 32 bytes each, and S, little-endian, is less than the group's order L;
2. A is the canonical encoding of a point (y < p, and no sign bit where x = 0) whose order is not small (it
   does not divide 8);
3. the same for R;
4. SB = R + kA with k = SHA-512(R ‖ A ‖ M) mod L, without multiplying by the cofactor.

A and R may have a component of small order beside one of order L, as long as the equation holds.

libsodium, as bundled with PyNaCl 1.6.2, decides by exactly these; only lengths are checked beside it. Tests
construct each class of edge case and compare with the predicate written out in integers, so that a library
that decides otherwise does not pass. The twelve cases of "Taming the many EdDSAs" (Chalkias, Garillot,
Nikolaenko, 2020, https://eprint.iacr.org/2020/1244), as this predicate has them:

====  ==========  ==============  ===============  ====================  ===================  ========
case  S           order of A      order of R       8SB = 8R + 8kA        SB = R + kA          verdict
====  ==========  ==============  ===============  ====================  ===================  ========
0     0           small           small            holds                 holds                invalid
1     0 < S < L   small           mixed            holds                 holds                invalid
2     0 < S < L   mixed           small            holds                 holds                invalid
3     0 < S < L   mixed           mixed            holds                 holds                valid
4     0 < S < L   mixed           mixed            holds                 fails                invalid
5     0 < S < L   mixed           L                holds                 fails                invalid
6     S > L       L               L                holds                 holds                invalid
7     S >> L      L               L                holds                 holds                invalid
8     0 < S < L   mixed           small, not       holds, k of the       fails                invalid
                                  canonical        canonical R
9     0 < S < L   mixed           small, not       holds                 holds                invalid
                                  canonical
10    0 < S < L   small, not      mixed            holds, k of the       fails                invalid
                  canonical                        canonical A
11    0 < S < L   small, not      mixed            holds                 holds                invalid
                  canonical
====  ==========  ==============  ===============  ====================  ===================  ========
"""

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class PrivateKey:
    """An Ed25519 key that can sign. `seed` is the secret, 32 bytes; `public` is what others know it by."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"the seed of an Ed25519 key has {SEED_BYTES} bytes, not {len(seed)}")
        self.public: bytes
        self.public, self._secret = crypto_sign_seed_keypair(bytes(seed))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes from which the key can be made again."""
        return self._secret[:SEED_BYTES]

    def sign(self, message: bytes) -> bytes:
        """64 bytes, R ‖ S, the same for the same message every time."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public.hex()})"


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is the key's over `message`, by the predicate above. Never raises."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False  # libsodium reads 32 bytes from wherever `public` begins
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True
