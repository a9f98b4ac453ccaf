"""The action graph as an SVG image: boxes with the colours of outcome and kind, and a legend; needs no Graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.printable import printable
from onnxbuild.report.drawing.colours import KINDS, OTHER_KIND, OUTCOMES, UNKNOWN
from onnxbuild.report.drawing.diagram import state_of
from onnxbuild.report.drawing.graph_layout import BOX_HEIGHT, CELL, MARGIN, PADDING, Layout, Place, Slot, label, layout
from onnxbuild.report.wording import cells

_STRIPE = 5  # width of the mark that shows the kind
_LEGEND_ROW = 22
_SWATCH = 14


def svg(graph: ActionGraph, outcomes: Mapping[str, Outcome] | None = None) -> str:
    """An SVG image of the graph, left to right."""
    plan = layout(graph)
    boxes = plan.boxes()
    entries = list(_legend_entries(graph, outcomes))
    width = max(plan.width, 320) if entries else plan.width
    rows = list(_legend(entries, width, plan.height))
    height = plan.height + (max(y for _, y, _, _ in rows) + _LEGEND_ROW - plan.height if rows else 0)
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">'
        ),
        (
            '  <defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"'
            ' orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#888"/></marker></defs>'
        ),
        '  <rect class="paper" width="100%" height="100%" fill="#ffffff"/>',
        *_lines(plan),
        *(line for action in graph.actions for line in _box(graph, action, boxes[action], outcomes)),
        *(line for x, y, text, swatch in rows for line in _entry(x, y, text, swatch)),
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _box(graph: ActionGraph, action: str, place: Place, outcomes: Mapping[str, Outcome] | None) -> Iterator[str]:
    state = state_of(action, outcomes)
    fill, stroke = OUTCOMES[state] if state else UNKNOWN
    top, text = place.y - BOX_HEIGHT / 2, label(action)
    kind = KINDS.get(graph.actions[action].kind, OTHER_KIND)
    yield f'  <g class="action"><title>{escape(printable(f"{action} {state}" if state else action))}</title>'
    yield (
        f'    <rect x="{place.x:.0f}" y="{top:.0f}" width="{place.width:.0f}" height="{BOX_HEIGHT}" rx="5"'
        f' fill="{fill}" stroke="{stroke}"/>'
    )
    yield (
        f'    <path class="kind" d="M{place.x + 3:.0f} {top + 5:.0f} v{BOX_HEIGHT - 10}" stroke="{kind}"'
        f' stroke-width="{_STRIPE}"/>'
    )
    # The length is fixed, so that the text fits its box in every font.
    yield (
        f'    <text x="{place.x + PADDING:.0f}" y="{place.y + 4:.0f}" textLength="{cells(text) * CELL:.0f}"'
        f' lengthAdjust="spacingAndGlyphs" fill="#111">{escape(text)}</text></g>'
    )


def _lines(plan: Layout) -> Iterator[str]:
    for start, end in plan.links:
        yield _line(plan.places[start], plan.places[end], end)


def _line(start: Place, end: Place, slot: Slot) -> str:
    """A curve through the gap between two columns, and where it passes the second column, on to its other side."""
    bend = (end.x - start.right) / 2
    path = f"M{start.right:.0f} {start.y:.0f}"
    path += f" C{start.right + bend:.0f} {start.y:.0f} {end.x - bend:.0f} {end.y:.0f} {end.x:.0f} {end.y:.0f}"
    tail = f" H{end.right:.0f}" if slot.passing else ""
    arrow = "" if slot.passing else ' marker-end="url(#arrow)"'
    return f'  <path class="edge" d="{path}{tail}" fill="none" stroke="#999"{arrow}/>'


def _legend_entries(graph: ActionGraph, outcomes: Mapping[str, Outcome] | None) -> Iterator[tuple[str, str]]:
    """A text and its swatch for each kind and each outcome in the drawing."""
    for kind in dict.fromkeys(action.kind for action in graph.actions.values()):
        yield kind, f'<path d="M3 0 v{_SWATCH}" stroke="{KINDS.get(kind, OTHER_KIND)}" stroke-width="{_STRIPE}"/>'
    states = {state for action in graph.actions if (state := state_of(action, outcomes))}
    for state in (one for one in OUTCOMES if one in states):
        fill, stroke = OUTCOMES[state]
        yield state, f'<rect width="{_SWATCH}" height="{_SWATCH}" rx="3" fill="{fill}" stroke="{stroke}"/>'


def _legend(entries: list[tuple[str, str]], width: float, top: float) -> Iterator[tuple[float, float, str, str]]:
    """The place of each entry: left to right below the drawing, in as many rows as it takes."""
    x, y = float(MARGIN), top
    for text, swatch in entries:
        wide = _SWATCH + 6 + cells(text) * CELL + 18
        if x > MARGIN and x + wide > width:
            x, y = float(MARGIN), y + _LEGEND_ROW
        yield x, y, text, swatch
        x += wide


def _entry(x: float, y: float, text: str, swatch: str) -> Iterator[str]:
    yield f'  <g class="legend" transform="translate({x:.0f} {y:.0f})">{swatch}'
    yield f'    <text x="{_SWATCH + 6}" y="11" fill="#111">{escape(text)}</text></g>'
