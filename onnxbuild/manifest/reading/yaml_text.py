"""Bytes become the text of a YAML file. What is wrong with the bytes or the syntax becomes a located fault."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import yaml

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Source, Span, fault
from onnxbuild.manifest.document import Array

LARGEST_BYTES = 8 << 20
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def decode(data: bytes, path: str) -> Source:
    """The text of a file. Errors: DiagnosticError if it is too large, not UTF-8, or has control characters."""
    if len(data) > LARGEST_BYTES:
        raise DiagnosticError(too_large(path))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DiagnosticError(_not_utf8(data, path, error.start)) from None
    source = Source(path, text)
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        message = f"the control character U+{ord(unprintable.group()):04X} is not allowed in YAML"
        hint = "write it as an escape in double quotes"
        raise DiagnosticError(fault("OB022", message, span=_span_at(source, unprintable.start()), hint=hint))
    return source


def too_large(path: str, at: Span | None = None) -> Diagnostic:
    """OB021 for a file that has more bytes than any manifest."""
    message = f"`{path}` is too large: a manifest has at most {LARGEST_BYTES:,} bytes"
    return fault("OB021", message, span=at, hint="split it up with `include:`, or keep data in files")


def _not_utf8(data: bytes, path: str, start: int) -> Diagnostic:
    source = Source(path, data.decode("utf-8", errors="replace"))
    before = data[:start].decode("utf-8", errors="replace")
    message = f"not UTF-8: found the byte 0x{data[start]:02x}"
    return fault("OB022", message, span=_span_at(source, len(before)), hint="save the file as UTF-8")


def _span_at(source: Source, index: int) -> Span:
    lines = source.text[:index].splitlines(keepends=True)
    if not lines or lines[-1].endswith(("\n", "\r")):
        return Span(source, len(lines) + 1, 1)
    return Span(source, len(lines), len(lines[-1]) + 1)


def syntax_fault(source: Source, error: yaml.MarkedYAMLError) -> Diagnostic:
    """A syntax error of PyYAML, with its place and what is likely to repair it."""
    problem = str(error.problem or error)
    mark = error.problem_mark or error.context_mark
    span = _span_of(source, mark) if mark else Span(source, 1, 1)
    hint = None
    if "\t" in source.line(span.line)[: span.column]:
        problem, hint = "a tab cannot indent in YAML", "indent with spaces"
    elif "mapping values are not allowed" in problem:
        hint = "put a value that contains `: ` in quotes; a nested key needs its own line"
    elif "unexpected end of stream" in problem and error.context_mark:
        span, hint = _span_of(source, error.context_mark), "it is not closed before the file ends"
    elif problem == "found unexpected ':'":
        hint = _after_colon(source, span)
    elif error.context_mark and "flow" in str(error.context):
        hint = _unclosed(source, span)
    return fault("OB015", problem, span=span, hint=hint)


def _after_colon(source: Source, at: Span) -> str:
    """The advice for a colon in a flow mapping that another character follows than a blank, as in `{fp32:}`."""
    line = source.line(at.line)
    key = re.search(r"[\w.-]+$", line[: at.column - 1])
    if key is not None and line[at.column : at.column + 1] in {"}", ","}:
        return f"give the key a value: `{{{key.group()}: {{}}}}`"
    return "put a blank after the `:`"


def _span_of(source: Source, mark: Any) -> Span:
    return Span(source, mark.line + 1, mark.column + 1)


def _unclosed(source: Source, span: Span) -> str | None:
    """The advice for a fault inside brackets, with the innermost one that is open there."""
    brackets = _open_brackets(source, (span.line - 1, span.column - 1))
    if not brackets:
        return None
    line, column = brackets[-1]
    opened = source.line(line + 1)[column]
    if "${" in source.line(span.line):
        return f"inside `{opened}`, put a value with `${{…}}` in quotes"
    return f"the `{opened}` in line {line + 1} is not closed, or a comma is missing"


def _open_brackets(source: Source, end: tuple[int, int]) -> list[tuple[int, int]]:
    """The line and column, from zero, of each bracket that is open at a place."""
    opened: list[tuple[int, int]] = []
    with contextlib.suppress(yaml.YAMLError):
        for token in yaml.scan(source.text, Loader=LOADER):
            at = (token.start_mark.line, token.start_mark.column)
            if at >= end:
                break
            if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
                opened.append(at)
            elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and opened:
                opened.pop()
    return opened


def not_a_mapping(source: Source, root: Any) -> Diagnostic:
    """The fault of a document that is empty, a list or a scalar."""
    if root is None:
        hint = "begin with `onnxbuild: 1`, then `models:`"
        return fault("OB015", "the file is empty", span=Span(source, 1, 1), hint=hint)
    what = "a list" if isinstance(root, Array) else f"`{root}`"
    span = root.span if isinstance(root, Array) else Span(source, 1, 1)
    return fault("OB011", f"expected a mapping, found {what}", span=span, hint="begin with `onnxbuild: 1`")
