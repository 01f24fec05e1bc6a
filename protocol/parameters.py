"""The network's numbers: fixed by genesis, the same for everybody."""

from typing import Annotated

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]
QUORUM_MAX = 8
"""Two disputes raise K by 2, and 2K - 1 results can count: at most 19, of which the largest agreeing set is sought."""
PerMille = Annotated[int, Meta(ge=0, le=1000)]

ParameterName = Annotated[str, Meta(pattern=r"\A[a-z][a-z_]{0,31}\Z")]


class Bound(Struct, frozen=True, forbid_unknown_fields=True):
    """How far governance may move a parameter: `lowest` to `highest`, both included."""

    name: ParameterName
    lowest: Natural
    highest: Natural


class Parameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Epochs are counted in marked epochs wherever an age or a window is meant.

    `epoch_seconds`, `grace_seconds`: length of an epoch, and how long nodes wait for its mark. `tasks_max`,
    `questions_max`: bounds of one epoch's work. `quorum`: K. `pool`: slots of a base at least; `period`: epochs until
    a slot's turn. `*_depth`: questions of a task, quick for all, more where a ranking is undecided. `minimum_age`: of a
    profile. `profile_window`: epochs after which a profile must be renewed, and for which a missed reveal sets back.
    `attested`: whether accounts without attestation are held to `unattested_slots` per mille of a pool, one runner a
    task and a fifth of the votes. `norm_required`, `norm_window`: what a registration costs. `dispersion`: how far
    agreeing means may lie apart, per mille. `tolerance_*`: of the fingerprint, per mille of its spread. `version`: of
    the protocol, which every mark names; it only grows.
    """

    epoch_seconds: Positive = 3600
    grace_seconds: Positive = 300
    minimum_age: Natural = 12
    tasks_max: Positive = 2000
    questions_max: Positive = 50_000
    quorum: Annotated[int, Meta(ge=1, le=QUORUM_MAX)] = 3
    pool: Positive = 15
    period: Positive = 168
    profile_window: Positive = 24
    quick_depth: Positive = 5
    standard_depth: Positive = 25
    comprehensive_depth: Positive = 100
    audit_share: PerMille = 20
    attested: bool = True
    unattested_slots: PerMille = 200
    work_stamp_seconds: Natural = 10
    norm_required: Natural = 3
    norm_window: Positive = 24
    leaderless_max: Positive = 24
    dispersion: PerMille = 500
    tolerance_float: PerMille = 4
    tolerance_bfloat: PerMille = 24
    tolerance_quantised: PerMille = 120
    credit_bytes_cap: Positive = 2**31 - 1
    version: Positive = 1

    def tolerance(self, quantisation: str) -> int:
        """The fingerprint's tolerance for a file's weight type."""
        if quantisation in {"F32", "F16"}:
            return self.tolerance_float
        return self.tolerance_bfloat if quantisation == "BF16" else self.tolerance_quantised


MAIN = Parameters()
DEMO = Parameters(
    epoch_seconds=60,
    grace_seconds=5,
    minimum_age=0,
    tasks_max=64,
    questions_max=64 * 25,
    quick_depth=25,
    standard_depth=25,
    comprehensive_depth=25,
    audit_share=0,
    attested=False,
    work_stamp_seconds=0,
    tolerance_quantised=55,  # its models have three layers, which round less, and so do their cheats
)
