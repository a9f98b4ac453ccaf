"""YAML text becomes tables, arrays and scalars that know where each key and value stands.

Built from libyaml's events rather than from composed nodes: the composer recurses in C, so that a deep text ends the
process, and events take a third of its time (30,000 events in 28 ms, 78 ms composed). Depth, size and aliases are
bounded while reading. Scalars follow YAML 1.2 (`scalars`); duplicate keys are faults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Source, Span, fault
from onnxbuild.manifest import scalars

LARGEST_BYTES = 8 << 20
DEEPEST = 64
# What aliases may add to a document, counted as if each were written out: a billion laughs ends here.
LARGEST_EXPANSION = 100_000

_LEFT_OUT: Any = object()  # stands for a scalar that has a fault
_MERGE = "<<"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Table(dict[str, Any]):
    """A mapping; `keys_at` and `values_at` hold a span for each key that was written, `span` one for the whole."""

    __slots__ = ("keys_at", "span", "values_at", "weight")

    def __init__(self, span: Span, items: Mapping[str, Any] | None = None) -> None:
        super().__init__(items or {})
        self.span = span
        self.keys_at: dict[str, Span] = {}
        self.values_at: dict[str, Span] = {}
        self.weight = 1  # nodes below, aliases written out

    def put(self, key: str, value: Any, key_at: Span, value_at: Span) -> None:
        """Set a key with its places."""
        self[key] = value
        self.keys_at[key] = key_at
        self.values_at[key] = value_at

    def key_span(self, key: str) -> Span:
        """The place of a key, or of the whole where the key was not written."""
        return self.keys_at.get(key, self.span)

    def value_span(self, key: str) -> Span:
        """The place of a value, or of the whole where its key was not written."""
        return self.values_at.get(key, self.span)


class Array(list[Any]):
    """A sequence; `items_at` holds the span of each item."""

    __slots__ = ("items_at", "span", "weight")

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span
        self.items_at: list[Span] = []
        self.weight = 1

    def put(self, value: Any, at: Span) -> None:
        """Append an item with its place."""
        self.append(value)
        self.items_at.append(at)


def read_document(data: bytes, path: str, faults: list[Diagnostic]) -> Table:
    """The mapping that a YAML file holds.

    What reading can go on after (a duplicate key, a bad scalar) is left out and added to `faults`.
    Errors: DiagnosticError with the one fault that ends reading.
    """
    source = _decode(data, path)
    reader = _Reader(source, faults)
    try:
        root = reader.read()
    except yaml.MarkedYAMLError as error:
        raise DiagnosticError(_syntax_fault(source, error)) from None
    except yaml.YAMLError as error:
        raise DiagnosticError(fault("OB015", str(error), span=Span(source, 1, 1))) from None
    if not isinstance(root, Table):
        raise DiagnosticError(_not_a_mapping(source, root))
    return root


def read_scalar(text: str) -> scalars.Scalar:
    """The value of a scalar given on the command line; a number that is out of range stays text."""
    try:
        return scalars.plain(text)
    except ValueError:
        return text


def _decode(data: bytes, path: str) -> Source:
    if len(data) > LARGEST_BYTES:
        message = f"`{path}` is too large: a manifest has at most {LARGEST_BYTES:,} bytes"
        raise DiagnosticError(fault("OB021", message, hint="split it up with `include:`, or keep data in files"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", errors="replace")
        source = Source(path, text)
        before = data[: error.start].decode("utf-8", errors="replace")
        message = f"not UTF-8: found the byte 0x{data[error.start]:02x}"
        raise DiagnosticError(
            fault("OB022", message, span=_span_at(source, len(before)), hint="save the file as UTF-8")
        ) from None
    source = Source(path, text)
    if (found := _UNPRINTABLE.search(text)) is not None:
        message = f"the control character U+{ord(found.group()):04X} cannot stand in YAML"
        raise DiagnosticError(
            fault("OB022", message, span=_span_at(source, found.start()), hint="write it as an escape in double quotes")
        )
    return source


def _span_at(source: Source, index: int) -> Span:
    lines = source.text[:index].splitlines(keepends=True)
    if not lines or lines[-1].endswith(("\n", "\r")):
        return Span(source, len(lines) + 1, 1)
    return Span(source, len(lines), len(lines[-1]) + 1)


def _syntax_fault(source: Source, error: yaml.MarkedYAMLError) -> Diagnostic:
    problem = str(error.problem or error)
    mark = error.problem_mark or error.context_mark
    span = Span(source, mark.line + 1, mark.column + 1) if mark else Span(source, 1, 1)
    hint = None
    if "\t" in source.line(span.line)[: span.column]:
        problem, hint = "a tab cannot indent in YAML", "indent with spaces"
    elif "mapping values are not allowed" in problem:
        hint = "a value that holds `: ` needs quotes; a nested key needs a line of its own"
    elif "unexpected end of stream" in problem and error.context_mark:
        at = error.context_mark
        span, hint = Span(source, at.line + 1, at.column + 1), "it is not closed before the file ends"
    elif error.context_mark and "flow" in str(error.context):
        opened = "{" if "mapping" in str(error.context) else "["
        hint = f"the `{opened}` in line {error.context_mark.line + 1} is not closed, or a comma is missing"
        if "${" in source.line(span.line):
            hint = f"inside `{opened}` put a value with `${{…}}` in quotes"
    return fault("OB015", problem, span=span, hint=hint)


def _not_a_mapping(source: Source, root: Any) -> Diagnostic:
    if root is None:
        return fault(
            "OB015", "the file is empty", span=Span(source, 1, 1), hint="begin with `onnxbuild: 1`, then `models:`"
        )
    found = "a list" if isinstance(root, Array) else f"`{root}`"
    span = root.span if isinstance(root, Array) else Span(source, 1, 1)
    return fault("OB011", f"expected a mapping, found {found}", span=span, hint="begin with `onnxbuild: 1`")


class _Reader:
    """One pass over the events of one document, with the stack of what is open."""

    def __init__(self, source: Source, faults: list[Diagnostic]) -> None:
        self.source, self.faults = source, faults
        self._stack: list[tuple[Table | Array, str | None, Span]] = []  # open collections: anchor, and place
        self._keys: list[
            tuple[str | None, Span] | None
        ] = []  # for each open table the key that waits, itself None after a fault
        self._anchors: dict[str, Any] = {}
        self._merged: dict[int, Table] = {}  # what `<<` names, by the table that names it
        self._open_anchors: set[str] = set()
        self._expanded = 0
        self._root: Any = None
        self._documents = 0

    def read(self) -> Any:
        loader = _LOADER(self.source.text)
        handlers = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        try:
            while (event := loader.get_event()) is not None:
                handler = handlers.get(type(event))
                if handler is not None:
                    handler(event)
                elif type(event) is yaml.StreamEndEvent:
                    break
        finally:
            loader.dispose()
        return self._root

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        # What runs over several lines is marked at its first one, where a person begins to read.
        length = end.column - start.column if end.line == start.line else 1
        return Span(self.source, start.line + 1, start.column + 1, max(1, length))

    def _stop(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        raise DiagnosticError(fault(code, message, span=span, hint=hint))

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(
                "OB015", "a second document begins here", self._span(event), "one manifest a file; remove the `---`"
            )

    def _start(self, event: Any) -> None:
        at = self._span(event)
        if len(self._stack) >= DEEPEST:
            self._stop("OB021", f"nested more than {DEEPEST} deep", at)
        if event.tag and event.tag not in {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            self.faults.append(fault("OB015", f"unknown tag `{event.tag}`", span=at))
        is_table = type(event) is yaml.MappingStartEvent
        self._refuse_key(at, "a mapping" if is_table else "a list")
        self._stack.append((Table(at) if is_table else Array(at), event.anchor, at))
        self._keys.append(None)
        if event.anchor:
            self._open_anchors.add(event.anchor)

    def _end(self, _event: Any) -> None:
        node, anchor, at = self._stack.pop()
        self._keys.pop()
        if isinstance(node, Table) and id(node) in self._merged:
            # A fault already: what it would bring is there all the same, so that its lack is no further fault.
            for key, value in self._merged.pop(id(node)).items():
                node.setdefault(key, value)
        if anchor:
            self._open_anchors.discard(anchor)
            self._anchors[anchor] = node
        self._value(node, at, node.weight)

    def _scalar(self, event: Any) -> None:
        at, text = self._span(event), event.value
        try:
            if event.tag is not None and event.tag != "!":
                value = scalars.tagged(text, event.tag)
            else:
                value = scalars.plain(text) if event.implicit[0] else text
        except ValueError as error:
            self.faults.append(fault("OB011", str(error), span=at))
            value = _LEFT_OUT
        if event.anchor:
            self._anchors[event.anchor] = value
        if self._stack and type(self._stack[-1][0]) is Table and self._keys[-1] is None:
            self._key(value, text, at, is_merge=text == _MERGE and event.implicit[0])
        else:
            self._value(value, at, 1)

    def _key(self, value: Any, text: str | None, at: Span, *, is_merge: bool) -> None:
        if is_merge:
            hint = "put what models share under `defaults:`, and steps that they share into a target"
            self.faults.append(fault("OB020", "merge keys `<<` are not part of the language", span=at, hint=hint))
            text = _MERGE
        elif not isinstance(value, str):
            found = describe(value)
            self.faults.append(fault("OB011", f"expected a string as the key, found {found}", span=at, hint="quote it"))
            text = None
        table = self._stack[-1][0]
        assert isinstance(table, Table), "BUG: a key outside a table"
        if text is not None and text in table:
            first = table.keys_at[text]
            hint = f"the first one stands in line {first.line}"
            self.faults.append(fault("OB014", f"duplicate key `{text}`", span=at, hint=hint))
        self._keys[-1] = (text, at)

    def _refuse_key(self, at: Span, found: str) -> None:
        if self._stack and type(self._stack[-1][0]) is Table and self._keys[-1] is None:
            hint = "quote a value that begins with `{` or `[`"
            self._stop("OB011", f"expected a string as the key, found {found}", at, hint)

    def _alias(self, event: Any) -> None:
        at, name = self._span(event), event.anchor
        self._refuse_key(at, "an alias")
        if name in self._open_anchors:
            self._stop("OB015", f"the alias `*{name}` stands inside what it refers to", at)
        if name not in self._anchors:
            from onnxbuild.diagnostics import did_you_mean

            hint = did_you_mean(name, self._anchors)
            self.faults.append(fault("OB004", f"undefined alias `*{name}`", span=at, hint=hint))
        node = self._anchors.get(name)
        weight = node.weight if isinstance(node, (Table, Array)) else 1
        self._expanded += weight
        if self._expanded > LARGEST_EXPANSION:
            self._stop("OB021", f"aliases expand to more than {LARGEST_EXPANSION:,} values", at)
        self._value(node, at, weight)

    def _value(self, value: Any, at: Span, weight: int) -> None:
        if not self._stack:
            self._root = None if value is _LEFT_OUT else value
            return
        parent = self._stack[-1][0]
        parent.weight += weight
        if isinstance(parent, Array):
            if value is not _LEFT_OUT:
                parent.put(value, at)
            return
        waiting = self._keys[-1]
        assert waiting is not None, "BUG: a value without its key"
        self._keys[-1] = None
        if waiting[0] == _MERGE and isinstance(value, Table):
            self._merged[id(parent)] = value
        elif waiting[0] is not None and waiting[0] != _MERGE and waiting[0] not in parent and value is not _LEFT_OUT:
            # A duplicate is a fault already; the first one stays.
            parent.put(waiting[0], value, waiting[1], at)


def describe(value: Any) -> str:
    """A value in words, as YAML sees it: "the string `18`", "a list"."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the boolean `{str(value).lower()}`"
    name = "integer" if isinstance(value, int) else "number" if isinstance(value, float) else "string"
    text = str(value)
    return f"the {name} `{text if len(text) <= 60 else text[:57] + '...'}`"  # noqa: PLR2004
