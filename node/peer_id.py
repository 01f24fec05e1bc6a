"""A peer's name from its key, without the weight of libp2p's import."""

import base58

from protocol.signing import PrivateKey

IDENTITY_MULTIHASH = bytes((0x00, 36))
ED25519_PUBLIC_KEY = bytes((0x08, 0x01, 0x12, 32))


def peer_id(seed: bytes) -> str:
    """The peer id of an Ed25519 key's 32-byte seed: base58 of the identity multihash of its protobuf (libp2p specs)."""
    return base58.b58encode(IDENTITY_MULTIHASH + ED25519_PUBLIC_KEY + PrivateKey(seed).public).decode()
