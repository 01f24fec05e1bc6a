"""The line at the top, and the notice under it when something needs saying."""

from tui.answers import Status
from tui.lines import Line, Piece, cropped, line, span, strip_of
from tui.link import Instant, Phase, Trouble
from tui.view import View
from tui.words import STATES, age, clock, count, left, reason_sentence, unknown


def header(view: View, now: Instant, width: int) -> Line:
    """Network, epoch, state, peers, log and connection, as far as there is room."""
    pieces = [Piece(line(span("peerboard", "strong")), 6)]
    status = view.status
    if status is not None:
        pieces = _status_pieces(status, view, now)
    else:
        pieces.append(Piece(line(span("no daemon yet", "muted")), 7))
    pieces.append(Piece(connection(view, now), 0))
    return strip_of(pieces, width)


def _status_pieces(status: Status, view: View, now: Instant) -> list[Piece]:
    passed = seconds_since(view, now)
    network = status.network.name or status.network.id[:8] or "unnamed"
    if len(network) > 24:
        network = network[:23] + "…"
    sign = STATES.get(status.state) or unknown(status.state)
    word = sign.text.upper()
    if status.state == "paused" and status.reasons:
        word += " · " + " + ".join(reason.code for reason in status.reasons)
    if status.role != "node":
        word = f"● {status.role.upper()}"
    style = sign.style
    if view.link.phase(now) is Phase.DOWN:
        word, style = f"○ was {sign.word if status.role == 'node' else status.role}", "muted"
    pieces = [Piece(line(span("peerboard ", "muted"), span(network, "strong")), 4)]
    if status.epoch is None:
        pieces.append(Piece(line(span("before the first epoch", "muted")), 3))
    else:
        epoch = [span("epoch "), span(count(status.epoch.number), "strong")]
        epoch.append(span(f" · {left(status.epoch.ends_in_s - passed)} left"))
        if status.epoch.leaderless:
            epoch.append(span(" · ! leaderless", "look"))
        pieces.append(Piece(tuple(epoch), 2))
    pieces.append(Piece(line(span(word, style)), 1))
    pieces.append(Piece(line(f"{count(status.peers)} {'peer' if status.peers == 1 else 'peers'}"), 5))
    if status.log is not None:
        pieces.append(Piece(line(f"log {count(status.log.size)}"), 7))
        if status.log.age_s is not None:
            pieces.append(Piece(line(span(f"final {age(status.log.age_s + passed)} ago", "muted")), 8))
    return pieces


def seconds_since(view: View, now: Instant) -> float:
    """How long ago the status was said. Spans in it stand still while the daemon does not speak."""
    if view.status_at is None:
        return 0.0
    until = now
    if view.link.phase(now) in (Phase.DOWN, Phase.STALE) and view.link.heard is not None:
        until = view.link.heard
    return max(0.0, until.steady - view.status_at.steady)


def connection(view: View, now: Instant) -> Line:
    """How fresh what is shown is."""
    link = view.link
    match link.phase(now):
        case Phase.LIVE:
            return line(span("◉ live", "accent"))
        case Phase.STALE:
            return line(span("◎ stale", "look"))
        case Phase.DOWN:
            return line(span("○ down", "look"))
        case Phase.CONNECTING:
            return line(span("◌ connecting", "muted"))


def notice(view: View, now: Instant, width: int) -> Line:
    """One sentence that matters more than the rest, or nothing."""
    link = view.link
    phase = link.phase(now)
    heard = "" if link.heard is None else f"last heard {clock(link.heard.wall)}"
    if phase is Phase.STALE:
        said = f"◎ Silent for {age(_silence(view, now))}; {heard}. What you see is from then."
        return cropped(line(span(said, "look")), width)
    if phase is Phase.DOWN:
        pieces = [Piece(line(span(f"○ {_trouble(view)}", "look")), 0)]
        if link.retry_at is not None:
            seconds = max(0, round(link.retry_at - now.steady))
            pieces.append(Piece(line(span(f"retry in {seconds} s", "look")), 1))
        pieces += [Piece(line(span(heard, "look")), 2)] if heard else []
        pieces.append(Piece(line(span("r retries now", "look")), 3))
        return strip_of(pieces, width, gap=" · ")
    if view.status is not None and view.status.state == "paused" and view.status.reasons:
        reasons = "; ".join(reason_sentence(reason) for reason in view.status.reasons)
        return cropped(line(span(f"‖ Paused. {reasons}", "strong")), width)
    worst = [caution for caution in view.cautions if caution.severity in ("fail", "warn")]
    if worst:
        worst.sort(key=lambda caution: caution.severity != "fail")
        first = worst[0]
        more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
        remedy = f" → {first.remedy}" if first.remedy else ""
        glyph = "×" if first.severity == "fail" else "!"
        return cropped(line(span(f"{glyph} {first.title or first.code}{remedy}{more}", "look")), width)
    return ()


def _silence(view: View, now: Instant) -> float:
    return 0.0 if view.link.heard is None else now.steady - view.link.heard.steady


def _trouble(view: View) -> str:
    link = view.link
    bootstrap = view.status is not None and not view.is_node
    who = "bootstrap" if bootstrap else "daemon"
    match link.trouble:
        case Trouble.NOT_RUNNING:
            return "The bootstrap does not answer." if bootstrap else "The daemon is not running. `peerboard run`"
        case Trouble.SILENT:
            return f"The {who} does not answer."
        case Trouble.ENDED:
            return f"The {who} ended the connection."
        case Trouble.REFUSED:
            return link.detail or f"The {who} refuses this token: is it that of another home?"
        case _:
            return f"That is no Peerboard {who}: {link.detail}" if link.detail else f"The {who} talks nonsense."
