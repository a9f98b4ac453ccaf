"""Renders diagnostics as text with a code frame, JSON, SARIF 2.1.0 and GitHub annotations."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.protocol import json_text
from onnxbuild.report.code_frame import coloured, diagnostic_lines
from onnxbuild.report.terminal import wants_colour, width_of

Format = Literal["text", "json", "sarif", "github"]
MOST_SHOWN = 100  # faults in a report for people
FORMATS: tuple[Format, ...] = ("text", "json", "sarif", "github")


def render(diagnostics: Sequence[Diagnostic], format: Format, *, colour: bool = False, width: int | None = None) -> str:  # noqa: A002 - the word of the command line
    """The diagnostics in a format, with a line break after the last line; no diagnostics are an empty text.

    json and sarif are valid documents without diagnostics, too. `colour` and `width` apply only to text.
    """
    if format == "json":
        return as_json(diagnostics)
    if format == "sarif":
        return as_sarif(diagnostics)
    if format == "github":
        return "".join(f"{as_github(one)}\n" for one in diagnostics)
    texts = [f"{as_text(one, colour=colour, width=width)}\n" for one in diagnostics[:MOST_SHOWN]]
    return "\n".join([*texts, *_more(diagnostics)])


def _more(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """How many faults are not shown; a program gets all of them from the other formats."""
    hidden = len(diagnostics) - MOST_SHOWN
    return [f"and {hidden:,} more\n"] if hidden > 0 else []


def show(diagnostics: Iterable[Diagnostic], stream: TextIO | None = None) -> None:
    """Print diagnostics as text; on a terminal with colour, in colour and wrapped to its width."""
    stream = stream or sys.stderr
    diagnostics = list(diagnostics)
    if not diagnostics or not wants_colour(stream):
        stream.write(render(diagnostics, "text", width=width_of(stream)))
        return
    from onnxbuild.report.rich_console import TerminalConsole

    console = TerminalConsole(stream, colour=True)
    for number, one in enumerate(diagnostics[:MOST_SHOWN]):
        if number:
            console.print()
        console.print(*coloured(one, console), sep="\n", soft_wrap=True)
    for line in _more(diagnostics):
        console.print(f"\n{line}", end="")


def as_text(one: Diagnostic, *, colour: bool = False, width: int | None = None) -> str:
    """One diagnostic: headline, place, code frame, notes; wrapped to `width` if there is one."""
    if not colour:
        return "\n".join(line.wrapped(width) for line in diagnostic_lines(one))
    from onnxbuild.report.rich_console import ansi_console

    console = ansi_console(width)
    console.print(*coloured(one, console), sep="\n", soft_wrap=True, end="")
    return console.written()


def as_plain(one: Diagnostic) -> dict[str, Any]:
    """One diagnostic as plain JSON values."""
    plain: dict[str, Any] = {"code": one.code, "severity": one.severity, "message": one.message}
    if one.span:
        plain |= {
            "file": one.span.source.path, "line": one.span.line, "column": one.span.column,
            "end_column": one.span.column + one.span.length,
        }  # fmt: skip
    if one.subject is not None:
        plain["action"] = one.subject
    return {**plain, "notes": [{"label": label, "text": text} for label, text in one.notes]}


def as_json(diagnostics: Sequence[Diagnostic]) -> str:
    """A JSON array of diagnostics."""
    return _json([as_plain(one) for one in diagnostics])


def as_sarif(diagnostics: Sequence[Diagnostic]) -> str:
    """A SARIF 2.1.0 log with one run; its rules are those that have a diagnostic."""
    from onnxbuild.rules import ALL
    from onnxbuild.version import __version__

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
            "artifactLocation": {"uri": quote(os.fsencode(one.span.source.path.replace(os.sep, "/")))},
            "region": {
                "startLine": one.span.line, "startColumn": one.span.column,
                "endColumn": one.span.column + one.span.length,
            },
        }  # fmt: skip
        result["locations"] = [{"physicalLocation": place}]
    return result


def as_github(one: Diagnostic) -> str:
    """One workflow command of GitHub Actions, which GitHub shows as an annotation of the line."""
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
    return json_text(value, indent=2) + "\n"
