"""Who may write the log: its key, and the keys that successions put in its place.

A checkpoint of n entries is by the key that is in force behind them; one that ends with the succession itself may
still be by the key before. This module reads envelopes in the order of the log and keeps no state of the ledger.
"""

from collections.abc import Iterable

from protocol.envelope import Envelope
from protocol.genesis import Genesis
from protocol.messages import Succession
from protocol.rejections import Rejection


def why_void(genesis: Genesis, log_key: bytes, successions: int, envelope: Envelope) -> Rejection | None:
    """Why a succession has no effect behind so many others, while `log_key` is in force; None where it has one."""
    if envelope.signer not in {log_key, genesis.recovery_key}:
        return Rejection.VOID_NOT_THE_LOG_KEY
    if not isinstance(envelope.message, Succession) or envelope.message.sequence != successions + 1:
        return Rejection.VOID_OUT_OF_SEQUENCE
    return None


def keys_in_force(genesis: Genesis, log_key: bytes, successions: int, entries: Iterable[Envelope]) -> tuple[bytes, ...]:
    """The keys by which a checkpoint that ends with the last of these entries may be signed, the newest first.

    `log_key` and `successions` are those of the log in front of the entries.
    """
    before = log_key
    for entry in entries:
        before = log_key
        if isinstance(entry.message, Succession) and why_void(genesis, log_key, successions, entry) is None:
            log_key, successions = entry.message.log_key, entry.message.sequence
    return (log_key,) if before == log_key else (log_key, before)
