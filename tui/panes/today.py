"""What this machine did today."""

from tui.lines import Line, cropped, line, span
from tui.view import View
from tui.words import count, measured


def today_lines(view: View, width: int) -> list[Line]:
    """Counts of the day, and what they brought."""
    status = view.status
    if status is None:
        return [line(span("–", "muted"))]
    if status.role != "node" or status.today is None:
        log = status.log
        entries = "" if log is None else f"{count(log.size)} log entries"
        return [cropped(line(entries, span(f" · root {log.root[:12]}" if log and log.root else "", "muted")), width)]
    today = status.today
    counts = f"{count(today.evaluated)} evaluated · {count(today.counted)} counted"
    rest = [f"{count(today.failed)} failed"] if today.failed else []
    if status.credit is not None:
        rest.append(f"credit {count(status.credit)}")
    if today.energy is not None:
        how = "estimated" if today.energy.estimated else "measured"
        rest.append(f"{how} {measured(1000 * today.energy.kwh)} Wh, {measured(today.energy.co2_grams)} g CO2")
    return [cropped(line(counts), width), cropped(line(span(" · ".join(rest), "muted")), width)]
