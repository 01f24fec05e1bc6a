"""Where a node keeps what it keeps: one folder, or the XDG folders of the user."""

from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class Home:
    """A participant's folder. A node can fetch all of it again but its keys; the bootstrap needs `signed` as well."""

    folder: Path

    @property
    def genesis(self) -> Path:
        """The network's genesis, in CBOR."""
        return self.folder / "genesis.cbor"

    @property
    def settings(self) -> Path:
        """The owner's settings, in TOML."""
        return self.folder / "config.toml"

    @property
    def account_key(self) -> Path:
        """Seed of the account's key, in hex."""
        return self.folder / "account.key"

    @property
    def device_key(self) -> Path:
        """Seed of the device's key, in hex."""
        return self.folder / "device.key"

    @property
    def peer_key(self) -> Path:
        """Seed of libp2p's key."""
        return self.folder / "peer.key"

    @property
    def known_peers(self) -> Path:
        """Peers that were reached before, see `node.known_peers`."""
        return self.folder / "peers.json"

    @property
    def log_key(self) -> Path:
        """The bootstrap's: seed of the log's key."""
        return self.folder / "log.key"

    @property
    def chain_seed(self) -> Path:
        """The bootstrap's: seeds of the log key's hash chains, one a line."""
        return self.folder / "chain.key"

    @property
    def signed(self) -> Path:
        """The bootstrap's: the newest checkpoint that the log key signed. Without it the log key would sign a fork."""
        return self.folder / "signed.note"

    @property
    def witness_key(self) -> Path:
        """Seed of the key with which this node cosigns marks, in hex; only where the genesis names it."""
        return self.folder / "witness.key"

    @property
    def public(self) -> Path:
        """The bootstrap's: the log, the snapshot and the board as files for any web server."""
        return self.folder / "public"

    @property
    def store(self) -> Path:
        """The SQLite cache."""
        return self.folder / "store.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the process that runs on this home."""
        return self.folder / "lock"

    @property
    def control(self) -> Path:
        """Where the control API listens: `{"url", "token_file", "pid", "role", "web"}`."""
        return self.folder / "control.json"

    @property
    def control_token(self) -> Path:
        """The control API's bearer token."""
        return self.folder / "control.token"

    @property
    def cache(self) -> Path:
        """Downloaded artefacts, bounded and evictable."""
        return self.folder / "cache"

    @property
    def log_file(self) -> Path:
        """What the daemon said, one JSON object a line."""
        return self.folder / "daemon.log"


def find_home(given: Path | None) -> Home:
    """The folder given, else the user's data folder for this application."""
    return Home((given or Path(platformdirs.user_data_dir("peerboard", appauthor=False))).expanduser().resolve())
