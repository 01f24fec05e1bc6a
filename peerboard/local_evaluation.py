"""`peerboard eval` and `peerboard score`: what the network does, for one person, without publishing."""

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from node.home import find_home
from node.settings import MIB, Settings, SettingsWrong, read_settings
from peerboard.endings import ending_like_control_c
from peerboard.exits import CommandFailed, Exit, json_answer
from peerboard.phrases import duration
from peerboard.safe_text import safe
from peerboard.terminal import terminal_of

FIRST_SECONDS = 1.0
TERMINAL_SECONDS, LINE_SECONDS = 0.2, 10.0
_WEAK = ("none", "limits")


class ProgressLine:
    """Progress on stderr: after a second, in one line on a terminal, a line every ten seconds anywhere else."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._terminal = terminal_of(sys.stderr)
        self._next = clock() + FIRST_SECONDS
        self._shown = 0

    def __call__(self, progress: Any) -> None:
        """`progress` has `done`, `total` and `tokens_per_second`."""
        now = self._clock()
        if now < self._next:
            return
        text = f"{progress.done} of {progress.total} questions · {progress.tokens_per_second:,.0f} tok/s"
        if self._terminal.width is None:
            self._next = now + LINE_SECONDS
            print(text, file=sys.stderr, flush=True)
        else:
            self._next = now + TERMINAL_SECONDS
            print(f"\r{text:<{self._shown}}", end="", file=sys.stderr, flush=True)
            self._shown = len(text)

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            print("\r" + " " * self._shown + "\r", end="", file=sys.stderr, flush=True)


class FetchingLine:
    """Says on stderr what is fetched from the Hub, once for each file, and when the Hub asks to wait."""

    def __init__(self) -> None:
        self._what = ""
        self._waits = 0.0

    def __call__(self, fetching: Any) -> None:
        """`fetching` has `what`, `total` in bytes, and `waits` in seconds."""
        waits, self._waits = self._waits, fetching.waits
        if fetching.waits > waits:
            text = f"{safe(fetching.what)}: the Hub asks to wait {duration(fetching.waits)}. Ctrl-C ends it."
            print(text, file=sys.stderr, flush=True)
        if fetching.total and fetching.what != self._what:
            self._what = fetching.what
            print(f"fetching {safe(fetching.what)}, {fetching.total / 1e6:,.1f} MB", file=sys.stderr, flush=True)


def _say_waiting() -> None:
    print("all cores are taken by other evaluations of yours: waiting for one", file=sys.stderr, flush=True)


def evaluate(
    model: str,
    benchmark: str,
    samples: int,
    loras: Sequence[str],
    *,
    data: Path | None,
    seed: int,
    mode: str,
    backend: str,
    compare: bool,
    memory: int | None,
    code_sandbox: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a model on this machine and print the result; `memory` is in MiB. Raises `CommandFailed`.

    What energy costs and how weak a sandbox may be is in the settings of `home`, if it has any.
    """
    from eval.energy import Power

    settings, line = _settings(home), ProgressLine()
    how: dict[str, Any] = {"loras": loras, "data": data, "seed": seed, "mode": mode, "backend": backend}
    how |= {"power": Power(settings.watts_per_core, settings.carbon_intensity), "report": line}
    how |= {"least_sandbox": settings.sandbox, "code_sandbox": code_sandbox or settings.code_sandbox}
    how |= {"memory_limit": memory * MIB if memory else None, "fetching": FetchingLine(), "waiting": _say_waiting}
    try:
        result = _ask(lambda local: (local.compare if compare else local.evaluate)(model, benchmark, samples, **how))
    finally:
        line.close()
    if result["questions"] < samples:
        text = f"{result['benchmark']} has {result['questions']:,} questions: all of them were asked, not {samples:,}."
        print(text, file=sys.stderr)
    warnings = _warnings(result)
    for each in warnings:
        print(f"{safe(each['title'])} {safe(each['remedy'])}", file=sys.stderr)
    if as_json:
        print(json_answer("eval", result, warnings=warnings))
        return
    print(f"{safe(result['model'])} · {result['benchmark']} version {result['version']}")
    _print_score(result)
    if compare:
        _print_comparison(result["comparison"])
    _print_other_figures(result)
    if result["near_ties"]:
        print(f"near ties  {result['near_ties']}: another machine may answer these otherwise")
    if result["too_long"]:
        counted = f"{len(result['too_long'])}: these prompts do not fit into the model's context and count as wrong"
        print(f"too long   {counted}")
    took = duration(result["seconds"]) if result["seconds"] >= 10 else f"{result['seconds']:.1f} s"
    made = ", ".join(result[key] for key in ("hardware", "mode", "engine"))
    _print_energy(result["energy"])
    print(f"speed      {result['tokens_per_second']:,.0f} tok/s, {took}, {made}")


def _warnings(result: dict[str, Any]) -> list[dict[str, str]]:
    """What may make the result worth less than it looks."""
    found = []
    if result["sandbox"] in _WEAK:
        text = f"sandbox: only {result['sandbox']} here, too little for a stranger's model."
        found.append(("SANDBOX_WEAK", text, "peerboard doctor says why."))
    for adapter in result["adapters"]:
        if not adapter["base"]["checked"]:
            named = f" (it names {adapter['base']['named']})" if adapter["base"]["named"] else ""
            text = f"{adapter['name']}: that it was made for this very base cannot be checked{named}."
            found.append(("BASE_UNCHECKED", text, "On another base of the same shapes it would spoil the answers."))
    return [{"code": code, "severity": "warn", "title": text, "remedy": remedy} for code, text, remedy in found]


def score(
    benchmark: str, outputs: Path, *, data: Path | None, code_sandbox: str | None, home: Path | None, as_json: bool
) -> None:
    """Score answers that were generated elsewhere and print the result. Raises `CommandFailed`."""
    least = code_sandbox or _settings(home).code_sandbox

    def scored(scoring: Any) -> dict[str, Any]:
        found: dict[str, Any] = scoring.score(
            benchmark, outputs, data=data, code_sandbox=least, fetching=FetchingLine()
        )
        low, high = scoring.interval([each["outcome"] for each in found["outcomes"]])
        return found | {"low": low, "high": high}

    result = _ask(scored, "eval.scoring")
    if as_json:
        print(json_answer("score", result))
        return
    print(f"{safe(outputs.name)} · {result['benchmark']} version {result['version']}")
    _print_score(result)
    _print_other_figures(result)


def _print_score(result: dict[str, Any]) -> None:
    """With the board's own arithmetic: rounding a rounded bound again would differ from it."""
    from protocol.scores import estimate

    outcomes = [each["outcome"] for each in result["outcomes"]]
    found = estimate(outcomes, len(outcomes))
    print(f"score      {found.score / 10:.1f} %  [{found.low / 10:.1f}, {found.high / 10:.1f}] (95 %)")
    print(f"questions  {result['questions']}, {result['correct']} correct")


def _print_other_figures(result: dict[str, Any]) -> None:
    for name, figures in result.get("extractions", {}).items():
        print(f"{name:<9}  {figures['score']:.1f} %, {figures['correct']} of {figures['questions']} correct")
    measures: dict[str, float] = result.get("measures", {})
    for kind in dict.fromkeys(name.partition("_")[0] for name in measures):
        highest, ahead, right = (measures[f"{kind}_{part}"] for part in ("max", "diff", "acc"))
        print(f"{kind:<9}  {right:.1f} % nearer to the truth; {highest:.2f} at most, {ahead:+.2f} ahead of falsehoods")


def _print_energy(found: dict[str, Any] | None) -> None:
    if found is None:
        return
    each = f"{found['joules_per_question']:.3g} J a question"
    if found["joules_per_correct"] is not None:
        each += f", {found['joules_per_correct']:.3g} J a correct answer"
    emitted = f"{found['kwh']:.3g} kWh, {found['co2_grams']:.3g} g CO2"
    print(f"energy     {found['joules']:.3g} J ({found['source']}), {each}, {emitted}")


def _settings(folder: Path | None) -> Settings:
    home = find_home(folder)
    if home.folder.exists() and not home.folder.is_dir():
        text = f"{home.folder} is a file, a home is a folder."
        raise CommandFailed("HOME_UNUSABLE", text, "Name another one with --home, or leave it out.", Exit.USAGE)
    try:
        return read_settings(home.settings)
    except SettingsWrong as error:
        raise CommandFailed("SETTINGS_WRONG", str(error), f"Edit {home.settings}", Exit.USAGE) from None


def _print_comparison(found: dict[str, Any]) -> None:
    from protocol.scores import estimate

    before = [each["outcome"] for each in found["base"]["outcomes"]]
    print(f"base       {estimate(before, len(before)).score / 10:.1f} %, {found['base']['correct']} correct")
    change, low, high = (f"{found[key]:+.1f}" for key in ("difference", "low", "high"))
    chance = f"p = {found['chance']:.3f}" if found["chance"] >= 0.001 else "p < 0.001"
    answers = f"{found['gained']} gained, {found['lost']} lost, {chance}"
    print(f"gain       {change} points  [{low}, {high}] (95 %), {answers}")


def _ask(work: Callable[[Any], dict[str, Any]], module: str = "eval.local") -> dict[str, Any]:
    """What `work` finds with a module of the evaluator. Raises `CommandFailed`."""
    try:
        asked = importlib.import_module(module)
        from eval.failing import EvaluationError
        from eval.user_folder import UserFolderUnavailable
    except ImportError as error:
        text = f"The evaluation engine cannot be loaded: {error}."
        raise CommandFailed("ENGINE_MISSING", text, "make setup builds it for this machine.") from None
    try:
        with ending_like_control_c():
            return work(asked)
    except EvaluationError as error:
        raise _explained(error) from None
    except UserFolderUnavailable as error:
        raise CommandFailed("NO_LOCKS", str(error), "Make one of these folders writable for you alone.") from None


def _explained(error: Any) -> CommandFailed:
    """An evaluation's failure with what to do about it."""
    from eval.chosen import EXAMPLE
    from eval.failing import Passing, RequestWrong
    from eval.outputs import OutputsRefused
    from eval.questions import QuestionsRefused
    from protocol.failures import Failure

    if isinstance(error, RequestWrong):
        code = "NO_MODEL" if error.failure is Failure.FILE_MISSING else "USAGE"
        return CommandFailed(code, error.detail, error.remedy, Exit.USAGE)
    if isinstance(error, OutputsRefused):
        return CommandFailed("WRONG_OUTPUTS", error.detail, "Correct the file, then score it again.")
    if isinstance(error, QuestionsRefused):
        local = "Name a folder with local copies: --data DIR"
        kinds = {
            None: ("NO_QUESTIONS", local, Exit.FAILED),
            Passing.LATER: ("TRY_AGAIN", f"Try again later. Or: {local[0].lower()}{local[1:]}", Exit.TRY_AGAIN),
            Passing.UNREACHABLE: ("UNREACHABLE", local, Exit.NOT_RUNNING),
        }
        code, remedy, status = kinds[error.passing]
        return CommandFailed(code, error.detail, remedy, status)
    whole = "If it is not complete, fetch it again. Else take another one: its maker may want to know what this says."
    named = {
        Failure.BENCHMARK_UNSUPPORTED: CommandFailed("NO_BENCHMARK", error.detail, EXAMPLE, Exit.USAGE),
        Failure.MODEL_REFUSED: CommandFailed("MODEL_REFUSED", str(error), whole),
        Failure.ADAPTER_REFUSED: CommandFailed("ADAPTER_REFUSED", str(error), "docs/adapters.md says what can be."),
        Failure.OUT_OF_MEMORY: CommandFailed(
            "OUT_OF_MEMORY", str(error), "Allow more with --memory, free some, or take a smaller model."
        ),
        Failure.ENGINE_FAILED: CommandFailed(
            "ENGINE_FAILED", str(error), "peerboard doctor looks at this machine. If it finds nothing, report this."
        ),
        Failure.SANDBOX_WEAK: CommandFailed("SANDBOX_WEAK", str(error), "docs/sandbox.md says what each level needs."),
        Failure.TOO_SLOW: CommandFailed("TOO_SLOW", str(error), "Ask fewer questions with --samples."),
    }
    remedy = "Try another file, or report the model's maker what the engine says."
    return named.get(error.failure) or CommandFailed(error.failure.name, str(error), remedy)
