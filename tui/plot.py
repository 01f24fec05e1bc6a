"""Ranges on a shared axis, drawn with text: `├──━━●━──┤`.

The thin line is what the score may be on questions like these, the thick part on exactly these questions,
the dot the estimate. A dashed line is provisional, a hollow dot disputed.
"""

import math
from collections.abc import Iterable
from itertools import groupby

from msgspec import Struct

from tui.answers import Row
from tui.lines import Line, Span, Style, span

LEAST_SPAN = 20.0


class Axis(Struct, frozen=True):
    """From `low` to `high` percent, a tick every `step`."""

    low: float = 0.0
    high: float = 100.0
    step: float = 20.0

    def column(self, value: float, width: int) -> int:
        """Where a value lies in a plot of `width` cells; values beyond the ends at the ends."""
        share = (value - self.low) / (self.high - self.low)
        return min(width - 1, max(0, round(share * (width - 1))))

    @property
    def ticks(self) -> list[float]:
        """The values that are marked."""
        return [self.low + self.step * n for n in range(round((self.high - self.low) / self.step) + 1)]


def _numbers(rows: Iterable[Row]) -> list[float]:
    found = [value for row in rows for value in (row.low, row.score, row.high)]
    return [min(100.0, max(0.0, value)) for value in found if value is not None and math.isfinite(value)]


def axis_of(rows: Iterable[Row]) -> Axis:
    """The axis that all rows share: zoomed to them, to round numbers, never so far that noise looks large."""
    values = _numbers(rows)
    if not values:
        return Axis()
    low, high = math.floor(min(values) / 10) * 10.0, math.ceil(max(values) / 10) * 10.0
    while high - low < LEAST_SPAN:
        low, high = max(0.0, low - 10), min(100.0, high + 10)
    step = 20.0 if high - low > 50 else 10.0
    # Ticks fall on multiples of the step, so the ends must too.
    low, high = math.floor(low / step) * step, min(100.0, math.ceil(high / step) * step)
    return Axis(low, high, step)


def axis_line(axis: Axis, width: int) -> Line:
    """The labels of the ticks, as many as have room."""
    signs = [" "] * width
    free = 0
    for tick in axis.ticks:
        label = f"{tick:.0f}"
        place = axis.column(tick, width) - len(label) // 2
        place = min(width - len(label), max(0, place))
        if place >= free:
            signs[place : place + len(label)] = label
            free = place + len(label) + 1
    return (span("".join(signs), "muted"),)


def range_plot(row: Row, axis: Axis, width: int) -> Line:
    """One row's range in exactly `width` cells."""
    signs: list[tuple[str, Style]] = [(" ", "text")] * width
    for tick in axis.ticks:
        signs[axis.column(tick, width)] = ("·", "faint")
    dashed = row.provisional
    _stroke(signs, axis, (row.low, row.high), "╌" if dashed else "─", "text")
    _stroke(signs, axis, (row.fp_low, row.fp_high), "╍" if dashed else "━", "accent")
    ends = _columns(axis, (row.low, row.high), width)
    if ends is not None and ends[0] < ends[1]:
        signs[ends[0]], signs[ends[1]] = ("├", "text"), ("┤", "text")
    if row.score is not None and math.isfinite(row.score):
        hollow = row.status == "DISPUTED"
        signs[axis.column(row.score, width)] = ("○" if hollow else "●", "look" if hollow else "accent")
    return tuple(
        Span("".join(sign for sign, _ in run), style) for style, run in groupby(signs, key=lambda sign: sign[1])
    )


def _columns(axis: Axis, bounds: tuple[float | None, float | None], width: int) -> tuple[int, int] | None:
    low, high = bounds
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return axis.column(min(low, high), width), axis.column(max(low, high), width)


def _stroke(
    signs: list[tuple[str, Style]],
    axis: Axis,
    bounds: tuple[float | None, float | None],
    sign: str,
    style: Style,
) -> None:
    columns = _columns(axis, bounds, len(signs))
    if columns is not None:
        for place in range(columns[0], columns[1] + 1):
            signs[place] = (sign, style)


def gauge(share: float, width: int, style: Style = "accent") -> Line:
    """A bar of `width` cells, filled from 0 to 1 in eighths of a cell."""
    share = min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    eighths = round(share * width * 8)
    full, part = divmod(eighths, 8)
    bar = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return (Span(bar, style), Span("░" * (width - len(bar)), "faint"))
