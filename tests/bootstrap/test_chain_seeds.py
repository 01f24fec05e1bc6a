"""The file of the hash chain's seeds: who reads it knows the beacons to come."""

from pathlib import Path

from bootstrap.chains import Chains
from protocol.epochs import hash_chain

SEED, LENGTH = b"s" * 32, 3


def test_a_renewed_chain_is_as_secret_as_the_first(tmp_path: Path) -> None:
    file = tmp_path / "chain.seed"
    file.write_text(SEED.hex() + "\n")
    file.chmod(0o600)
    anchor = Chains(file, LENGTH, entropy=lambda n: b"t" * n).renewed(hash_chain(SEED, LENGTH)[0])
    assert anchor == hash_chain(b"t" * 32, LENGTH)[-1]
    assert Chains(file, LENGTH).anchors == (hash_chain(SEED, LENGTH)[-1], anchor)
    assert file.stat().st_mode & 0o777 == 0o600
