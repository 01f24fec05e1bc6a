"""The bytes of set reconciliation: negentropy protocol, version 1.

A message is the byte 0x61 and ranges in ascending order, each with its exclusive upper bound; it begins where the one
before it ends, the first at nothing, and behind the last comes an implied skip. A range is skipped, or tells the
sender's fingerprint of it, or all ids that the sender has in it.

    message = 0x61 range*
    range   = bound mode payload             modes: 0 skip, 1 fingerprint (16 bytes), 2 ids (count, 32 bytes each)
    bound   = time length prefix             of an id, 0 to 32 bytes; what is left out is zero bytes
    time    = 0 for infinity, else 1 + the difference from the time of the bound before, at first from 0

Numbers are base 128, most significant digit first, the high bit set on all but the last, as short as possible. Here a
bound is kept as the 40 bytes that it stands for: the epoch (8 bytes, big-endian) and the id, which sort as bounds do.
"""

from msgspec import Struct

VERSION = 0x61
ID_BYTES = 32
EPOCH_BYTES = 8
KEY_BYTES = EPOCH_BYTES + ID_BYTES
FINGERPRINT_BYTES = 16
MAX_EPOCH = 2**64 - 2
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

SKIP, FINGERPRINT, IDS = 0, 1, 2
START = bytes(KEY_BYTES)
INFINITY = (2**64 - 1).to_bytes(EPOCH_BYTES, "big") + bytes(ID_BYTES)


class InvalidMessage(Exception):
    """The other side's message does not follow the protocol."""


class UnknownVersion(InvalidMessage):
    """The other side speaks another version of the protocol: `version` is its byte."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the message is of version {version:#04x}, and this one is {VERSION:#04x}")
        self.version = version


class Range(Struct, frozen=True):
    """What the sender says of the items below `bound` (40 bytes) and not below the bound before.

    `content` is None for a skip, bytes for a fingerprint, a list for the ids.
    """

    bound: bytes
    content: bytes | list[bytes] | None = None


def number(value: int) -> bytes:
    """Base 128, most significant digit first."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def shortest_bound(before: bytes, after: bytes) -> bytes:
    """The shortest bound that parts two neighbouring items (40 bytes each): above the first, not above the second."""
    if before[:EPOCH_BYTES] != after[:EPOCH_BYTES]:
        return after[:EPOCH_BYTES] + bytes(ID_BYTES)
    length = next(i for i in range(EPOCH_BYTES, KEY_BYTES) if before[i] != after[i]) + 1
    return after[:length] + bytes(KEY_BYTES - length)


class Writer:
    """Writes a message, range by range."""

    def __init__(self) -> None:
        self.data = bytearray((VERSION,))
        self._epoch = 0

    def mark(self) -> tuple[int, int]:
        """Where the message ends now, for `back_to`."""
        return len(self.data), self._epoch

    def back_to(self, mark: tuple[int, int]) -> None:
        """Take back what was written since."""
        length, self._epoch = mark
        del self.data[length:]

    def write(self, item: Range) -> None:
        """Append a range, whose bound must not be below the one before."""
        if item.bound == INFINITY:
            self.data += b"\x00\x00"
        else:
            epoch = int.from_bytes(item.bound[:EPOCH_BYTES], "big")
            prefix = item.bound[EPOCH_BYTES:].rstrip(b"\x00")
            self.data += number(1 + epoch - self._epoch) + number(len(prefix)) + prefix
            self._epoch = epoch
        if item.content is None:
            self.data += number(SKIP)
        elif isinstance(item.content, bytes):
            self.data += number(FINGERPRINT) + item.content
        else:
            self.data += number(IDS) + number(len(item.content)) + b"".join(item.content)


def parse(message: bytes) -> list[Range]:
    """The ranges of an untrusted message, bounds ascending. Raises `InvalidMessage`, and nothing else."""
    if not 1 <= len(message) <= MAX_MESSAGE_BYTES:
        raise InvalidMessage(f"a message has 1 to {MAX_MESSAGE_BYTES} bytes, not {len(message)}")
    if message[0] != VERSION:
        raise UnknownVersion(message[0])
    reader = _Reader(message)
    ranges: list[Range] = []
    bound = START
    while not reader.at_end:
        if bound == INFINITY:
            raise InvalidMessage("the message goes on behind infinity")
        before, bound = bound, reader.bound()
        if bound < before:
            raise InvalidMessage("the bounds are not in ascending order")
        ranges.append(Range(bound, reader.content()))
    return ranges


class _Reader:
    def __init__(self, message: bytes) -> None:
        self._message = message
        self._position = 1
        self._epoch = 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._message)

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._message):
            raise InvalidMessage("the message ends inside of a range")
        taken = self._message[self._position : end]
        self._position = end
        return taken

    def number(self) -> int:
        value = 0
        while True:
            digit = self.take(1)[0]
            if digit == 0x80 and value == 0:
                raise InvalidMessage("a number is longer than it needs to be")
            value = value << 7 | digit & 0x7F
            if value >= 2**64:
                raise InvalidMessage("a number has more than 64 bits")
            if digit < 0x80:
                return value

    def bound(self) -> bytes:
        time, length = self.number(), self.number()
        if length > ID_BYTES:
            raise InvalidMessage(f"a bound names {length} bytes of an id, which has {ID_BYTES}")
        prefix = self.take(length)
        if time == 0:
            if prefix:
                raise InvalidMessage("infinity has no id")
            return INFINITY
        self._epoch += time - 1
        if self._epoch > MAX_EPOCH:
            raise InvalidMessage("a bound has an epoch of more than 64 bits")
        return self._epoch.to_bytes(EPOCH_BYTES, "big") + prefix + bytes(ID_BYTES - length)

    def content(self) -> bytes | list[bytes] | None:
        mode = self.number()
        if mode == SKIP:
            return None
        if mode == FINGERPRINT:
            return self.take(FINGERPRINT_BYTES)
        if mode == IDS:
            data = self.take(self.number() * ID_BYTES)
            ids = [data[start : start + ID_BYTES] for start in range(0, len(data), ID_BYTES)]
            if len(set(ids)) != len(ids):
                raise InvalidMessage("an id stands twice in one list")
            return ids
        raise InvalidMessage(f"a range has the unknown mode {mode}")
