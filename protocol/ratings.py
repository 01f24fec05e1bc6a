"""Stars: what people think of a model on a track, shown beside the scores and never mixed into them.

The latest rating of a person counts: the one that names the latest epoch, one an epoch.
"""

from collections.abc import Mapping

from protocol.envelope import Envelope
from protocol.messages import Rating
from protocol.rejections import Rejection
from protocol.state import Rated, State
from protocol.tiers import Scope, admit


def rating(state: State, envelope: Envelope, message: Rating) -> Rejection | None:
    """Fold a rating: it replaces the person's last one if it names a later epoch."""
    account = admit(state, envelope.signer, message.epoch, Scope.RATE)
    if isinstance(account, Rejection):
        return account
    if message.model not in state.models:
        return Rejection.VOID_UNKNOWN_MODEL
    if message.track not in tracks(state):
        return Rejection.VOID_UNKNOWN_TRACK
    key = (message.model, message.track, state.person(account))
    known = state.ratings.get(key)
    if known and known.epoch >= message.epoch:
        return Rejection.VOID_OUT_OF_SEQUENCE
    state.ratings[key] = Rated(message.epoch, message.stars)
    return None


def tracks(state: State) -> dict[str, tuple[bytes, ...]]:
    """Benchmarks by track: what they say of themselves, and what governance made of it (none of them: it ended)."""
    found: dict[str, tuple[bytes, ...]] = {}
    for key, benchmark in sorted(state.benchmarks.items()):
        found[benchmark.track] = (*found.get(benchmark.track, ()), key)
    found.update(state.tracks)
    return {track: benchmarks for track, benchmarks in sorted(found.items()) if benchmarks}


def stars(state: State) -> Mapping[tuple[bytes, str], tuple[int, ...]]:
    """By model and track: how many people gave 1, 2, 3, 4 and 5 stars."""
    counts: dict[tuple[bytes, str], list[int]] = {}
    attested = set(state.persons.values())
    for (model, track, person), rated in state.ratings.items():
        if person in state.persons or (person not in attested and person not in state.accounts):
            continue  # whoever rated is somebody else since: an attestation came, or was corrected
        counts.setdefault((model, track), [0] * 5)[rated.stars - 1] += 1
    return {key: tuple(given) for key, given in sorted(counts.items())}
