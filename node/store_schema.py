"""The store's tables, and how a file of an earlier version becomes one of this.

A file's version is the number of steps that it went through (`PRAGMA user_version`). Each step is one transaction, so
that a kill leaves the file before or behind it. A step is never changed once it was released: append another one.
"""

import sqlite3
from collections.abc import Callable

from node.log_tiles import SCHEMA as TILES
from protocol.envelope import open_envelope
from protocol.messages import Commitment

TABLES = """
CREATE TABLE IF NOT EXISTS log (position INTEGER PRIMARY KEY, id BLOB NOT NULL, data BLOB NOT NULL, received REAL);
CREATE TABLE IF NOT EXISTS envelopes (id BLOB PRIMARY KEY, epoch INTEGER NOT NULL, data BLOB NOT NULL, received REAL);
CREATE TABLE IF NOT EXISTS network (only INTEGER PRIMARY KEY CHECK (only = 0), id BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoint (only INTEGER PRIMARY KEY CHECK (only = 0), note BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS salts (epoch INTEGER PRIMARY KEY, salt BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS work (
    ground BLOB NOT NULL, task BLOB NOT NULL, epoch INTEGER NOT NULL, result BLOB NOT NULL, run BLOB NOT NULL,
    PRIMARY KEY (ground, task)
);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, ground BLOB NOT NULL,
    commitment BLOB NOT NULL, result BLOB
);
CREATE TABLE IF NOT EXISTS transcripts (
    digest BLOB NOT NULL, task BLOB NOT NULL, epoch INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (digest, task)
);
CREATE TABLE IF NOT EXISTS receipts (envelope BLOB PRIMARY KEY, bound INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS envelopes_by_epoch ON envelopes (epoch);
CREATE INDEX IF NOT EXISTS log_by_id ON log (id);
"""


class WrittenByNewer(Exception):
    """The file has gone through steps that this program does not know."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version. Raises `WrittenByNewer`, and what `sqlite3` raises."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(STEPS):
                raise WrittenByNewer(f"it has version {version}, and this program knows {len(STEPS)}: update it")
            if version == len(STEPS):
                return
            STEPS[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _make_tables(connection: sqlite3.Connection) -> None:
    """Files from before versions were counted have some of these tables, or all."""
    for statement in (TABLES + TILES).split(";"):
        connection.execute(statement)


def _promise(connection: sqlite3.Connection) -> None:
    """Which tasks this node has committed to: one commitment each, whoever writes to the file."""
    connection.execute("CREATE TABLE promised (task BLOB PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID")
    bound = connection.execute("SELECT id FROM network").fetchone()
    for epoch, data in connection.execute("SELECT epoch, commitment FROM batches").fetchall():
        message = open_envelope(bytes(data), bytes(bound[0]), check_signature=False).message if bound else None
        tasks = message.tasks if isinstance(message, Commitment) else ()
        connection.executemany("INSERT OR IGNORE INTO promised VALUES (?, ?)", [(task, epoch) for task in tasks])


SNAPSHOTS = """
CREATE TABLE marks (epoch INTEGER PRIMARY KEY, size INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE snapshots (size INTEGER PRIMARY KEY, root BLOB NOT NULL, format BLOB NOT NULL, digest BLOB NOT NULL);
CREATE TABLE snapshot_pieces (
    size INTEGER NOT NULL, place INTEGER NOT NULL, field TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (size, place)
)
"""


def _remember_states(connection: sqlite3.Connection) -> None:
    """Where the marks stand in the log, and states just after some of them."""
    for statement in SNAPSHOTS.split(";"):
        connection.execute(statement)


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (_make_tables, _promise, _remember_states)
