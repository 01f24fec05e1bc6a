"""A mapping of frozen records with a digest that is cheap to bring up to date.

The digest binds every key and record. Each record has a leaf, SHA-256 of the deterministic CBOR of (key, record); the
leaves lie in 256 buckets by the first byte of SHA-256 of the key's CBOR, in order of that CBOR; a bucket's digest is
the hash of its leaves, the table's the hash of the 256 bucket digests. Only what was set since the last call is hashed
again. Records are never changed in place: whoever changes one sets another.
"""

import hashlib
from collections.abc import ItemsView, Iterator, MutableMapping
from typing import TypeVar, overload

from protocol import cbor

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
BUCKETS = 256
EMPTY = hashlib.sha256().digest()
PAIR = cbor.head(cbor.ARRAY, 2)


class Table(MutableMapping[K, V]):
    """Keys and records are whatever `cbor.encode` takes."""

    def __init__(self) -> None:
        self._records: dict[K, V] = {}
        self._stale: set[K] = set()
        self._names: dict[K, tuple[int, bytes]] = {}
        self._leaves: list[dict[bytes, bytes]] = [{} for _ in range(BUCKETS)]
        self._buckets = [EMPTY] * BUCKETS

    def __getitem__(self, key: K) -> V:
        return self._records[key]

    def __setitem__(self, key: K, record: V) -> None:
        self._records[key] = record
        self._stale.add(key)

    def __delitem__(self, key: K) -> None:
        del self._records[key]
        self._stale.add(key)

    def __iter__(self) -> Iterator[K]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: object) -> bool:
        return key in self._records

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """The record, or the default where there is none."""
        return self._records.get(key, default)

    def items(self) -> ItemsView[K, V]:
        """Keys and records, at a dict's speed."""
        return self._records.items()

    def copy(self) -> dict[K, V]:
        """The keys and records of now."""
        return self._records.copy()

    def digest(self) -> bytes:
        """32 bytes for all keys and records, whatever the order in which they were set."""
        touched = set()
        written: dict[int, bytes] = {}  # many keys may have the same record
        for key in self._stale:
            if (known := self._names.get(key)) is None:
                name = cbor.encode(key)
                known = self._names[key] = hashlib.sha256(name).digest()[0], name
            place, name = known
            touched.add(place)
            if key in self._records:
                record = self._records[key]
                if (encoded := written.get(id(record))) is None:
                    encoded = written[id(record)] = cbor.encode(record)
                self._leaves[place][name] = hashlib.sha256(PAIR + name + encoded).digest()
            else:
                self._leaves[place].pop(name, None)
                del self._names[key]
        for place in touched:
            leaves = self._leaves[place]
            self._buckets[place] = hashlib.sha256(b"".join(leaves[name] for name in sorted(leaves))).digest()
        self._stale.clear()
        return hashlib.sha256(b"".join(self._buckets)).digest()
