"""What audits and appeals find out about the runners whose result they look at.

A result shows that the model read the questions (its fingerprint), not that its answers were generated. So the runners
of an examination ask for the transcripts of the results that agreed then, check each against the digest in the logged
result, and force it through the model: a question is *flagged* where a token lies more than `FLAGGED_BELOW` below the
most likely one, the chosen choice that much below the best, or the answer is not what prompt, stop rules and scorer
make of it. What most of them find is put on record with the account when the examination closes DONE. It changes no
verdict and no credit: for `profile_window` marks who was flagged or did not reveal comes after all others in the
rankings, and who was flagged has no tier.
"""

import enum
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

FLAGGED_BELOW = 500
"""Thousandths of a nat."""


class Sight(enum.IntEnum):
    """What a runner of an examination could do about one account's transcript."""

    EXAMINED = 0
    NOT_REVEALED = 1
    NOT_EXAMINED = 2  # for want of time or means of its own


class Finding(Struct, frozen=True, forbid_unknown_fields=True):
    """What one runner of an examination says of one examined account.

    `flagged`: a bit per question, first question first, most significant bit first; there if it was examined.
    """

    sight: Sight
    flagged: Annotated[bytes, Meta(max_length=125)] | None = None


class Conclusion(enum.IntEnum):
    """What an examination puts on record about an account."""

    MATCHES = 0
    FLAGGED = 1
    NOT_REVEALED = 2


class Examined(Struct, frozen=True):
    """An account whose result agreed then, and the digest of the transcript that it committed to."""

    account: bytes
    transcript: bytes


class Audited(Struct, frozen=True):
    """The record: the task that was looked at, the conclusion, how many questions are flagged, at which mark."""

    task: bytes
    conclusion: Conclusion
    flagged: int
    mark: int


def is_well_formed(finding: Finding, questions: int) -> bool:
    """Whether a finding fits a task of so many questions."""
    if finding.sight is not Sight.EXAMINED or finding.flagged is None:
        return finding.sight is not Sight.EXAMINED and finding.flagged is None
    padding = -questions % 8
    bits = int.from_bytes(finding.flagged, "big")
    return len(finding.flagged) * 8 == questions + padding and not bits & ((1 << padding) - 1)


def conclude(findings: Sequence[Finding | None], questions: int) -> tuple[Conclusion, int] | None:
    """What the agreeing runners' findings on one account amount to, and how many questions most of them flag.

    `findings` has an item for each of the agreeing, None where it says nothing. More than half of the agreeing must
    have asked in vain, or have examined; and more than half must flag a question. Flagged is an account of which more
    than max(1, 10 %) of the questions are. None: nothing is put on record.
    """
    sights = [finding.sight for finding in findings if finding is not None]
    if 2 * sights.count(Sight.NOT_REVEALED) > len(findings):
        return Conclusion.NOT_REVEALED, 0
    if 2 * sights.count(Sight.EXAMINED) <= len(findings):
        return None
    masks = [finding.flagged for finding in findings if finding is not None and finding.flagged is not None]
    votes = (sum(bool(mask[place // 8] >> (7 - place % 8) & 1) for mask in masks) for place in range(questions))
    flagged = sum(2 * count > len(findings) for count in votes)
    return (Conclusion.FLAGGED if 10 * flagged > max(10, questions) else Conclusion.MATCHES), flagged
