"""The places of boxes and lines in a drawing: a column per depth, with room in each column for the lines that pass.

An edge that skips columns passes each of them in its own slot, so that no line runs behind a box. Edges that
begin at the same action share their slots. Unconnected parts of the graph are drawn below one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.printable import printable
from onnxbuild.report.wording import cells, cropped
from onnxbuild.secrets import redacted

BOX_HEIGHT = 34
MARGIN = 16
PADDING = 12
CELL = 7.3  # width of one cell of 12 px monospace text, with a little to spare
LONGEST = 56  # cells of a label
_ROW, _PASS, _GAP, _BETWEEN_PARTS = 46, 14, 56, 10


class Slot(Struct, frozen=True):
    """A place in a column: of an action, or of the lines of an action that pass this column."""

    action: str
    column: int
    passing: bool = False


class Place(Struct, frozen=True):
    """The place of a slot; `y` is its middle."""

    x: float
    y: float
    width: float

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.x + self.width


class Layout(Struct, frozen=True):
    """The places of slots, the slots that are joined by a line, and the size of all."""

    places: Mapping[Slot, Place]
    links: Sequence[tuple[Slot, Slot]]
    width: float
    height: float

    def boxes(self) -> Mapping[str, Place]:
        """The place of each action."""
        return {slot.action: place for slot, place in self.places.items() if not slot.passing}


def layout(graph: ActionGraph) -> Layout:
    """Places for every action and line of a graph, left to right."""
    slots = _slots(graph)
    links = list(dict.fromkeys(_links(graph, slots)))
    before: dict[Slot, list[Slot]] = {slot: [] for slot in slots.values()}
    for start, end in links:
        before.setdefault(end, []).append(start)
    heights: dict[Slot, float] = {}
    top: float = MARGIN
    for part in _parts(graph, before):
        heights |= _heights(part, before, top)
        top = max(heights[slot] + _half(slot) for slot in part) + _BETWEEN_PARTS
    columns = _columns(graph, slots)
    places = {slot: Place(columns[slot.column][0], y, columns[slot.column][1]) for slot, y in heights.items()}
    width = max((place.right for place in places.values()), default=0) + MARGIN
    return Layout(places, links, width, max(top - _BETWEEN_PARTS, 0) + MARGIN)


def label(action: str) -> str:
    """The text of a box."""
    return cropped(printable(redacted(action)), LONGEST)


def _slots(graph: ActionGraph) -> dict[str, Slot]:
    """The slot of each action, in the column after the last action that it needs."""
    slots: dict[str, Slot] = {}
    for action in graph.actions.values():
        column = max((slots[need].column + 1 for need in action.needs if need in slots), default=0)
        slots[action.id] = Slot(action.id, column)
    return slots


def _links(graph: ActionGraph, slots: Mapping[str, Slot]) -> Iterator[tuple[Slot, Slot]]:
    """The lines between slots of neighbouring columns that lead from each action to those that need it."""
    for action in graph.actions.values():
        for need in action.needs:
            at = slots[need]
            for column in range(slots[need].column + 1, slots[action.id].column):
                passing = Slot(need, column, passing=True)
                yield at, passing
                at = passing
            yield at, slots[action.id]


def _parts(graph: ActionGraph, slots: Iterable[Slot]) -> list[list[Slot]]:
    """The slots of each connected part, in the order of the manifest."""
    leader = {name: name for name in graph.actions}

    def leader_of(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for action in graph.actions.values():
        for need in action.needs:
            leader[leader_of(action.id)] = leader_of(need)
    parts: dict[str, list[Slot]] = {}
    for slot in slots:
        parts.setdefault(leader_of(slot.action), []).append(slot)
    return list(parts.values())


def _heights(part: Sequence[Slot], before: Mapping[Slot, Sequence[Slot]], top: float) -> dict[Slot, float]:
    """The middle of each slot of a part: as high as what leads to it, below the slots already in its column."""
    columns: dict[int, list[Slot]] = {}
    for slot in part:
        columns.setdefault(slot.column, []).append(slot)
    heights: dict[Slot, float] = {}
    for _, column in sorted(columns.items()):
        wanted = {slot: _mean(heights, before[slot], top) for slot in column}
        free = top
        for slot in sorted(wanted, key=wanted.__getitem__):
            heights[slot] = max(free + _half(slot), wanted[slot])
            free = heights[slot] + _half(slot)
    return heights


def _mean(heights: Mapping[Slot, float], slots: Sequence[Slot], top: float) -> float:
    return sum(heights[slot] for slot in slots) / len(slots) if slots else top


def _half(slot: Slot) -> float:
    return (_PASS if slot.passing else _ROW) / 2


def _columns(graph: ActionGraph, slots: Mapping[str, Slot]) -> list[tuple[float, float]]:
    """The x and the width of each column, which its longest label decides."""
    longest: dict[int, int] = {}
    for action in graph.actions:
        column = slots[action].column
        longest[column] = max(longest.get(column, 0), cells(label(action)))
    columns: list[tuple[float, float]] = []
    x: float = MARGIN
    for _, widest in sorted(longest.items()):
        columns.append((x, widest * CELL + 2 * PADDING))
        x += columns[-1][1] + _GAP
    return columns
