"""The action graph as an SVG picture: a column for each depth, boxes coloured by outcome; needs no Graphviz."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from msgspec import Struct

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.drawing.diagram import COLOURS, edges, state_of
from onnxbuild.report.wording import cells

_ROW, _GAP, _MARGIN, _HEIGHT = 48, 56, 16, 34
_CELL = 7.3  # width of one cell of 12 px monospace text, with a little to spare
_PADDING = 18


class _Box(Struct, frozen=True):
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.y + _HEIGHT / 2


def svg(graph: ActionGraph, outcomes: Mapping[str, Outcome] | None = None) -> str:
    """A picture of the graph, left to right."""
    boxes = _layout(graph)
    width = max((b.x + b.width for b in boxes.values()), default=0) + _MARGIN
    height = max((b.y for b in boxes.values()), default=0) + _HEIGHT + _MARGIN
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">'
        )
    ]
    lines += [_edge(boxes[need], boxes[user]) for need, user in edges(graph)]
    for action, box in boxes.items():
        lines += _box(action, box, state_of(action, outcomes))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _layout(graph: ActionGraph) -> Mapping[str, _Box]:
    """Each action in the column after the last of those that it needs, below the ones that stand there already."""
    depth: dict[str, int] = {}
    for action in graph.actions.values():
        depth[action.id] = max((depth[need] + 1 for need in action.needs if need in depth), default=0)
    columns: dict[int, list[str]] = {}
    for name, column in depth.items():
        columns.setdefault(column, []).append(name)
    boxes: dict[str, _Box] = {}
    x: float = _MARGIN
    for column in sorted(columns):
        width = max(cells(name) for name in columns[column]) * _CELL + _PADDING
        for row, name in enumerate(columns[column]):
            boxes[name] = _Box(x, _MARGIN + row * _ROW, width)
        x += width + _GAP
    return {name: boxes[name] for name in graph.actions}


def _box(action: str, box: _Box, state: str | None) -> list[str]:
    fill, stroke = COLOURS[state] if state else ("#ffffff", "#555555")
    title = f"{action} {state}" if state else action
    return [
        (
            f'  <g><title>{escape(title)}</title><rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}"'
            f' height="{_HEIGHT}" rx="5" fill="{fill}" stroke="{stroke}"/>'
        ),
        f'  <text x="{box.x + _PADDING / 2:.0f}" y="{box.middle + 4:.0f}" fill="#111">{escape(action)}</text></g>',
    ]


def _edge(start: _Box, end: _Box) -> str:
    x, bend = start.x + start.width, _GAP / 2
    return (
        f'  <path d="M{x:.0f} {start.middle:.0f} C{x + bend:.0f} {start.middle:.0f} {end.x - bend:.0f} '
        f'{end.middle:.0f} {end.x:.0f} {end.middle:.0f}" fill="none" stroke="#999"/>'
    )
