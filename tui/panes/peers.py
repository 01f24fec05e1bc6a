"""The neighbours in the network. Never where they are: their keys lead to no address and no account."""

from tui.lines import BLANK, Line, cell, cropped, line, span
from tui.plain import cut_middle, wrapped
from tui.view import View
from tui.words import age, count


def peers_lines(view: View, width: int) -> list[Line]:
    """One neighbour a line: its key, how it is reached, since when."""
    if view.status is not None and not view.is_node:
        sentence = f"{count(view.status.peers)} connected. The bootstrap does not list them."
        return [line(text) for text in wrapped(sentence, width)]
    if view.peers is None:
        return [line(span("Not known yet.", "muted"))]
    if not view.peers:
        sentence = "No peers. The daemon looks for them through the bootstrap and in the local network."
        return [line(text) for text in wrapped(sentence, width)]
    name = max(8, min(52, width - 24))
    lines = [
        line(cell("peer", name, "muted"), cell("  reach", 12, "muted"), span("connected", "muted")),
        BLANK,
    ]
    for peer in view.peers:
        parts = line(cell(cut_middle(peer.peer, name), name), "  ", cell(peer.reach or "–", 10), age(peer.connected_s))
        lines.append(cropped(parts, width))
    return lines
