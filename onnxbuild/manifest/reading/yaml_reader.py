"""YAML text becomes tables, arrays and scalars that know the place of each key and value.

Built from libyaml's events rather than from composed nodes: the composer recurses in C, so that a deep text ends the
process, and events take a third of its time (30,000 events in 28 ms, 78 ms composed). Depth, size and aliases are
bounded while reading. Scalars follow YAML 1.2 (`scalars`); duplicate keys are faults.
"""

from __future__ import annotations

from typing import Any

import yaml

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Source, Span, did_you_mean, fault
from onnxbuild.manifest.document import Array, Table, describe
from onnxbuild.manifest.reading import scalars
from onnxbuild.manifest.reading.budget import MOST_FAULTS, MOST_VALUES
from onnxbuild.manifest.reading.yaml_text import LOADER, decode, not_a_mapping, syntax_fault

DEEPEST = 64
# What aliases may add to a document, counted as if each were written out: a billion laughs ends here.
LARGEST_EXPANSION = 100_000

_LEFT_OUT: Any = object()  # in place of a scalar that has a fault
_MERGE = "<<"


def read_document(data: bytes, path: str, faults: list[Diagnostic]) -> Table:
    """The mapping in a YAML file.

    A fault that does not end reading (a duplicate key, a bad scalar) is added to `faults`, and its value left out.
    Errors: DiagnosticError with the one fault that ends reading.
    """
    source = decode(data, path)
    reader = _Reader(source, faults)
    try:
        root = reader.read()
    except yaml.MarkedYAMLError as error:
        raise DiagnosticError(syntax_fault(source, error)) from None
    except yaml.YAMLError as error:
        raise DiagnosticError(fault("OB015", str(error), span=Span(source, 1, 1))) from None
    if not isinstance(root, Table):
        raise DiagnosticError(not_a_mapping(source, root))
    return root


def read_scalar(text: str) -> scalars.Scalar:
    """The value of a scalar given on the command line; a number that is out of range stays text."""
    try:
        return scalars.plain(text)
    except ValueError:
        return text


def read_list(text: str, path: str) -> Any:
    """The list in a text of the command line such as `[1, 8]`; the text itself if it is none."""
    faults: list[Diagnostic] = []
    try:
        root = _Reader(decode(text.encode("utf-8"), path), faults).read()
    except (yaml.YAMLError, DiagnosticError, UnicodeEncodeError):
        return text
    return root if isinstance(root, Array) and not faults else text


class _Reader:
    """One pass over the events of one document, with a stack of the open collections."""

    def __init__(self, source: Source, faults: list[Diagnostic]) -> None:
        self.source, self.faults = source, faults
        self._stack: list[tuple[Table | Array, str | None, Span]] = []  # open collections: anchor, and place
        # For each open collection the key whose value comes next. The name of a key with a fault is None.
        self._keys: list[tuple[str | None, Span] | None] = []
        self._anchors: dict[str, Any] = {}
        self._merged: dict[int, Table] = {}  # what `<<` names, by the table that names it
        self._open_anchors: set[str] = set()
        self._expanded = 0
        self._root: Any = None
        self._documents = 0

    def read(self) -> Any:
        loader = LOADER(self.source.text)
        handlers = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        events = 0
        try:
            while (event := loader.get_event()) is not None:
                events += 1
                if events > MOST_VALUES or len(self.faults) > MOST_FAULTS:
                    self._too_much(event)
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
        # A value of several lines is marked on the first one, where a person begins to read.
        length = end.column - start.column if end.line == start.line else 1
        return Span(self.source, start.line + 1, start.column + 1, max(1, length))

    def _stop(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        raise DiagnosticError(fault(code, message, span=span, hint=hint))

    def _too_much(self, event: Any) -> None:
        """End reading. What was found so far is reported, too."""
        if len(self.faults) > MOST_FAULTS:
            self._stop("OB021", f"more than {MOST_FAULTS:,} faults: the rest was not read", self._span(event))
        message = f"a manifest has at most {MOST_VALUES:,} values"
        self._stop("OB021", message, self._span(event), "split it up, or keep data in files")

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(
                "OB015",
                "a second document begins here",
                self._span(event),
                "a file contains one manifest: remove the `---`",
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
            # `<<` is a fault already. Its entries are added all the same, so that no missing key is reported too.
            for key, value in self._merged.pop(id(node)).items():
                node.setdefault(key, value)
        if anchor:
            self._open_anchors.discard(anchor)
            self._anchors[anchor] = node
        self._value(node, at, node.weight)

    def _scalar(self, event: Any) -> None:
        at, text = self._span(event), event.value
        value = self._value_of(event, text, at)
        if event.anchor:
            self._anchors[event.anchor] = value
        if self._stack and type(self._stack[-1][0]) is Table and self._keys[-1] is None:
            self._key(value, text, at, is_merge=text == _MERGE and event.implicit[0])
        else:
            self._value(value, at, 1)

    def _value_of(self, event: Any, text: str, at: Span) -> Any:
        """The value of a scalar, left out if it has a fault."""
        if "\0" in text:
            # No path, name or package contains it, and C code would treat it as the end of the text.
            self.faults.append(fault("OB022", "the character U+0000 is not allowed", span=at))
            return _LEFT_OUT
        try:
            if event.tag is not None and event.tag != "!":
                return scalars.tagged(text, event.tag)
            return scalars.plain(text) if event.implicit[0] else text
        except ValueError as error:
            self.faults.append(fault("OB011", str(error), span=at))
            return _LEFT_OUT

    def _key(self, value: Any, text: str | None, at: Span, *, is_merge: bool) -> None:
        if is_merge:
            hint = "put values that models share under `defaults:`, and steps that they share into a target"
            self.faults.append(fault("OB020", "merge keys `<<` are not part of the language", span=at, hint=hint))
            text = _MERGE
        elif value is _LEFT_OUT:
            text = None
        elif not isinstance(value, str):
            what = describe(value)
            self.faults.append(
                fault("OB011", f"expected a string as the key, found {what}", span=at, hint="put it in quotes")
            )
            text = None
        table = self._stack[-1][0]
        assert isinstance(table, Table), "BUG: a key outside a table"
        if text is not None and text in table:
            first = table.keys_at[text]
            hint = f"the first one is in line {first.line}"
            self.faults.append(fault("OB014", f"duplicate key `{text}`", span=at, hint=hint))
        self._keys[-1] = (text, at)

    def _refuse_key(self, at: Span, what: str) -> None:
        if self._stack and type(self._stack[-1][0]) is Table and self._keys[-1] is None:
            hint = "quote a value that begins with `{` or `[`"
            self._stop("OB011", f"expected a string as the key, found {what}", at, hint)

    def _alias(self, event: Any) -> None:
        at, name = self._span(event), event.anchor
        self._refuse_key(at, "an alias")
        if name in self._open_anchors:
            self._stop("OB015", f"the alias `*{name}` is inside the value that it refers to", at)
        if name not in self._anchors:
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
            # A duplicate is already reported; the first value stays.
            parent.put(waiting[0], value, waiting[1], at)
