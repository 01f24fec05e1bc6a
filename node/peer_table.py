"""Who is connected, and who wants to hear when that changes."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from node.mailbox import Mailbox
from node.network import CHANGE_QUEUE, Peer, PeerChange


class PeerTable(dict[str, Peer]):
    """The connected peers by their peer ids; `join` and `part` tell the watchers."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: list[Mailbox[PeerChange]] = []

    def join(self, peer: Peer) -> None:
        """A peer that was not there is connected."""
        self[peer.peer] = peer
        self._tell(PeerChange(peer.peer, joined=True))

    def part(self, name: str) -> None:
        """A peer is connected no more."""
        del self[name]
        self._tell(PeerChange(name, joined=False))

    def has_direct(self, name: str) -> bool:
        """Whether that peer is connected without a relay."""
        return name in self and not self[name].relayed

    @contextmanager
    def changes(self) -> Iterator[trio.MemoryReceiveChannel[PeerChange]]:
        """What changes from now on, after everybody who is there as having joined."""
        with Mailbox[PeerChange](CHANGE_QUEUE) as mailbox:
            for name in self:
                mailbox.put(PeerChange(name, joined=True))
            self._watchers.append(mailbox)
            try:
                yield mailbox.channel
            finally:
                self._watchers.remove(mailbox)

    def _tell(self, change: PeerChange) -> None:
        for watcher in self._watchers:
            watcher.put(change)
