"""The peer key file: made once, private, whole or refused with a sentence."""

import os
import threading
from pathlib import Path

import pytest

from node.peer_key import SEED_BYTES, PeerKeyError, load_peer_key


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "peer.key"
    seed = load_peer_key(path)
    assert len(seed) == SEED_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_peer_key(path) == seed
    assert os.listdir(path.parent) == ["peer.key"]


def test_all_who_start_at_once_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    seeds: list[bytes] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        seeds.append(load_peer_key(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seeds) == 8
    assert set(seeds) == {path.read_bytes()}
    assert os.listdir(tmp_path) == ["peer.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    load_peer_key(path)
    path.chmod(0o644)
    with pytest.raises(PeerKeyError, match="chmod 600"):
        load_peer_key(path)


def test_a_key_of_another_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    load_peer_key(path)
    path.write_bytes(b"short")
    with pytest.raises(PeerKeyError, match="5 bytes instead of 32"):
        load_peer_key(path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PeerKeyError, match="peer key"):
        load_peer_key(tmp_path / "file" / "peer.key")
