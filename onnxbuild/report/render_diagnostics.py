"""The one renderer of diagnostics: text with a code frame, JSON, SARIF 2.1.0, GitHub annotations."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO

import msgspec

from onnxbuild.diagnostics import Diagnostic, Span

Format = Literal["text", "json", "sarif", "github"]
FORMATS: tuple[Format, ...] = ("text", "json", "sarif", "github")

_WIDEST = 160  # characters of a source line that are shown
_BEFORE_CARET = 40  # of which so many stand before the place, where the line is cut
_RED, _YELLOW, _BLUE, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"


def render(diagnostics: Sequence[Diagnostic], format: Format, *, colour: bool = False) -> str:  # noqa: A002 - the word of the command line
    """The diagnostics in a format, with a line end after the last line; empty text for none (json, sarif: valid)."""
    if format == "json":
        return as_json(diagnostics)
    if format == "sarif":
        return as_sarif(diagnostics)
    if format == "github":
        return "".join(f"{as_github(one)}\n" for one in diagnostics)
    return "\n".join(f"{as_text(one, colour=colour)}\n" for one in diagnostics)


def show(diagnostics: Iterable[Diagnostic], stream: TextIO | None = None) -> None:
    """Print diagnostics as text, in colour where the stream is a terminal that wants it."""
    stream = stream or sys.stderr
    stream.write(render(list(diagnostics), "text", colour=wants_colour(stream)))


def wants_colour(stream: TextIO) -> bool:
    """Whether colour suits a stream: a terminal, unless NO_COLOR is set or it is dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_text(one: Diagnostic, *, colour: bool = False) -> str:
    """One diagnostic: headline, place, code frame, notes."""
    tint = _RED if one.severity == "error" else _YELLOW
    head, *rest = headline(one).split(" ", 1)
    lines = [f"{_tinted(head, _BOLD + tint, on=colour)} {_tinted(' '.join(rest), _BOLD, on=colour)}"]
    # Without a frame the notes are indented as under a frame of one-digit line numbers.
    margin = len(str(one.span.line)) if one.span else 1
    if one.span:
        lines += _frame(one.span, margin, tint if colour else "")
    sign = _tinted("=", _BLUE, on=colour)
    for label, text in one.notes:
        first, *more = _printable(text, keep="\n").split("\n")
        lines.append(f"{' ' * margin} {sign} {label}: {first}")
        lines += [f"{' ' * (margin + len(label) + 5)}{line}" for line in more]
    return "\n".join(lines)


def headline(one: Diagnostic) -> str:
    """The first line: code, the action that it belongs to, what was found. Errors are not named as such."""
    kind = "" if one.severity == "error" else f"{one.severity}: "
    subject = ""
    if one.subject is not None:
        subject = f"{one.subject} failed: " if one.severity == "error" else f"{one.subject}: "
    return f"{one.code} {kind}{subject}{_printable(one.message)}"


def code_frame(span: Span) -> list[str]:
    """The lines that show a place: its address, the line of text with the one before, and carets below it."""
    return _frame(span, len(str(span.line)), "")


def _frame(span: Span, margin: int, tint: str) -> list[str]:
    on = bool(tint)
    bar = _tinted("|", _BLUE, on=on)
    before, line = span.source.line(span.line - 1), span.source.line(span.line)
    lines = [f"{' ' * margin}{_tinted('-->', _BLUE, on=on)} {_printable(str(span))}", f"{' ' * margin} {bar}"]
    start = span.column - 1
    cut = max(0, start - _BEFORE_CARET) if len(line) > _WIDEST else 0
    if before.strip():
        lines.append(f"{_tinted(str(span.line - 1).rjust(margin), _BLUE, on=on)} {bar} {_shown(before, cut)}")
    lines.append(f"{_tinted(str(span.line), _BLUE, on=on)} {bar} {_shown(line, cut)}")
    pad = _blank(_shown(line, cut)[: start - cut])
    marked = _shown(line, cut)[start - cut : start - cut + span.length]
    carets = "^" * max(1, min(_width(marked) or 1, _WIDEST))
    lines.append(f"{' ' * margin} {bar} {pad}{_tinted(carets, tint, on=on)}")
    return lines


def _shown(line: str, cut: int) -> str:
    return _printable(line[cut : cut + _WIDEST], keep="\t").rstrip()


def _blank(text: str) -> str:
    """Blanks as wide as a text, tabs as they are: the caret stands right whatever a tab's width is."""
    return "".join("\t" if one == "\t" else " " * _width(one) for one in text)


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _printable(text: str, keep: str = "") -> str:
    """The text without control characters: a manifest must not steer the terminal of who lints it."""
    return (
        text if text.isprintable() else "".join(one if one.isprintable() or one in keep else "\ufffd" for one in text)
    )


def _tinted(text: str, tint: str, *, on: bool) -> str:
    return f"{tint}{text}{_PLAIN}" if on and text else text


def as_plain(one: Diagnostic) -> dict[str, Any]:
    """One diagnostic as plain JSON values."""
    found: dict[str, Any] = {"code": one.code, "severity": one.severity, "message": one.message}
    if one.span:
        found |= {
            "file": one.span.source.path, "line": one.span.line, "column": one.span.column,
            "end_column": one.span.column + one.span.length,
        }  # fmt: skip
    if one.subject is not None:
        found["action"] = one.subject
    return {**found, "notes": [{"label": label, "text": text} for label, text in one.notes]}


def as_json(diagnostics: Sequence[Diagnostic]) -> str:
    """A JSON array of diagnostics."""
    return _json([as_plain(one) for one in diagnostics])


def as_sarif(diagnostics: Sequence[Diagnostic]) -> str:
    """A SARIF 2.1.0 log with one run, its rules those that were met."""
    from onnxbuild import __version__
    from onnxbuild.rules import ALL

    codes = list(dict.fromkeys(one.code for one in diagnostics))
    rules = [_sarif_rule(code, ALL.get(code)) for code in codes]
    driver = {"name": "onnxbuild", "version": __version__, "rules": rules}
    results = [_sarif_result(one, codes) for one in diagnostics]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return _json({"$schema": schema, "version": "2.1.0", "runs": [run]})


def _sarif_rule(code: str, rule: Any) -> Mapping[str, Any]:
    if rule is None:
        return {"id": code}
    about = {"shortDescription": {"text": rule.summary}}
    if rule.why:
        about["fullDescription"] = {"text": rule.why}
    if rule.fix:
        about["help"] = {"text": rule.fix}
    return {"id": code, "name": rule.name, **about}


def _sarif_result(one: Diagnostic, codes: list[str]) -> Mapping[str, Any]:
    level = {"error": "error", "warning": "warning", "info": "note"}[one.severity]
    result: dict[str, Any] = {
        "ruleId": one.code, "ruleIndex": codes.index(one.code), "level": level, "message": {"text": _one_text(one)}
    }  # fmt: skip
    if one.span:
        from urllib.parse import quote

        place = {
            "artifactLocation": {"uri": quote(one.span.source.path.replace(os.sep, "/"))},
            "region": {
                "startLine": one.span.line, "startColumn": one.span.column,
                "endColumn": one.span.column + one.span.length,
            },
        }  # fmt: skip
        result["locations"] = [{"physicalLocation": place}]
    return result


def as_github(one: Diagnostic) -> str:
    """One workflow command of GitHub Actions, which shows as an annotation at the line."""
    level = {"error": "error", "warning": "warning", "info": "notice"}[one.severity]
    place = ""
    if one.span:
        end = one.span.column + one.span.length
        path = _escaped(one.span.source.path, ":,")
        place = f"file={path},line={one.span.line},col={one.span.column},endColumn={end},"
    return f"::{level} {place}title={_escaped(one.code, ':,')}::{_escaped(_one_text(one))}"


def _escaped(text: str, also: str = "") -> str:
    for one in ("%", "\r", "\n", *also):
        text = text.replace(one, f"%{ord(one):02X}")
    return text


def _one_text(one: Diagnostic) -> str:
    return "\n".join([one.message, *(f"{label}: {text}" for label, text in one.notes)])


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
