"""One model: where it stands, what it cannot be told apart from, how its last tasks ended."""

from tui.answers import Energy, Row
from tui.arrangement import tied
from tui.lines import BLANK, Line, Span, cell, cropped, line, span
from tui.plain import cut_middle, wrapped
from tui.plot import Axis, axis_line, axis_of, range_plot
from tui.view import View, row_of, tasks_of, verdicts_of
from tui.words import VERDICTS, count, measured, percent, ranks, row_sign, task_sign, unknown


def model_lines(view: View, key: tuple[str, str] | None, width: int) -> list[Line]:
    """All about the model under the cursor."""
    row = row_of(view, key)
    if row is None:
        sentence = "No model is chosen: move the cursor on the board and press enter."
        return [line(span(text, "muted")) for text in wrapped(sentence, width)]
    lines = [line(span(cut_middle(row.title, width), "strong"))]
    facts = [_size(row.parameters)] if row.parameters is not None else []
    facts += [row.quantisation] if row.quantisation else []
    facts.append(f"id {row.id[:12]}")
    lines.append(cropped(line(span(" · ".join(facts), "muted")), width))
    if row.model and row.model != row.name:
        lines.append(line(span(cut_middle(row.model, width), "muted")))
    lines.append(BLANK)
    standings = [other for other in view.rows if other.id == row.id]
    plot = max(10, min(40, width - 42))
    axis = axis_of(standings)
    lines.append(cropped(line(" " * 42, *axis_line(axis, plot)), width))
    for standing in standings:
        lines += _standing(standing, axis, plot, width)
    lines += [BLANK, *_ties(view, row, width), *_recent(view, row, width)]
    return lines


def _size(parameters: int) -> str:
    for size, unit in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if parameters >= size:
            return f"{parameters / size:.3g}{unit} parameters"
    return f"{parameters} parameters"


def _standing(row: Row, axis: Axis, plot: int, width: int) -> list[Line]:
    bounds = f"[{percent(row.low)}–{percent(row.high)}]"
    head: list[Span] = [
        cell(cut_middle(row.benchmark, 15), 15),
        cell(ranks(row), 5, "strong", right=True),
        cell(percent(row.score), 7, "strong", right=True),
        cell(bounds, 14, "muted", right=True),
        span(" "),
        *range_plot(row, axis, plot),
    ]
    of = f" of {count(row.of)}" if row.of else ""
    sign = row_sign(row)
    runners = "1 runner" if row.runners == 1 else f"{count(row.runners)} runners"
    tail = f"{count(row.questions)}{of} questions · {runners} · epoch {count(row.epoch)} · {sign.text.strip()}"
    energy = [cropped(line("  ", span(_energy(row.energy), "muted")), width)] if row.energy is not None else []
    return [cropped(tuple(head), width), cropped(line("  ", span(tail, "muted")), width), *energy]


def _energy(spent: Energy) -> str:
    """What it costs, by the medians of its runners' words; no rank hangs on it."""
    how = "estimated" if spent.estimated == spent.results else "partly estimated" if spent.estimated else "measured"
    figures = {
        "J a question": spent.joules_per_question,
        "J a correct answer": spent.joules_per_correct,
        "g CO2 a task": spent.co2_grams_per_task,
    }
    known = [f"{measured(value)} {unit}" for unit, value in figures.items() if value is not None]
    return f"{how}: {' · '.join(known)}"


def _ties(view: View, row: Row, width: int) -> list[Line]:
    others = [other.title for other in view.rows if other.id != row.id and tied(row, other)]
    if not others:
        text = f"Separated from every other model on {row.benchmark}."
    else:
        more = f" and {len(others) - 6} more" if len(others) > 6 else ""
        text = f"Not yet separable on {row.benchmark} from: {', '.join(others[:6])}{more}."
    return [line(part) for part in wrapped(text, width, most=3)]


def _recent(view: View, row: Row, width: int) -> list[Line]:
    lines: list[Line] = []
    for task in tasks_of(view, row.id):
        sign = task_sign(task)
        lines.append(_outcome(f"{count(task.epoch)}", task.benchmark, span(sign.text, sign.style), ""))
    for verdict in verdicts_of(view, row.id):
        sign = VERDICTS.get(verdict.verdict) or unknown(verdict.verdict)
        detail = "" if verdict.score is None else f"{percent(verdict.score)} · "
        detail += f"{len(verdict.agreeing)} of {verdict.counted} agree"
        if verdict.failure is not None:
            detail = verdict.failure.title or verdict.failure.code
        lines.append(_outcome(count(verdict.epoch), verdict.benchmark, span(sign.text, sign.style), detail))
    if not lines:
        return []
    return [BLANK, line(span("epoch   task", "muted")), *(cropped(entry, width) for entry in lines)]


def _outcome(epoch: str, benchmark: str, verdict: Span, detail: str) -> Line:
    return line(cell(epoch, 8), cell(cut_middle(benchmark, 15), 16), verdict, span(f"  {detail}", "muted"))
