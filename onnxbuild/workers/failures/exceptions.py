"""Explains exceptions of the libraries by the table in `known_messages`.

It imports nothing heavy, because a failed import is one of the things to explain.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxbuild.protocol import Failure
from onnxbuild.workers.failures.known_messages import EXPORT_FAILED, KNOWN, NOTICED, OTHER_TRACER, Known

_TABLE: tuple[tuple[Known, re.Pattern[str]], ...] = tuple(
    (known, re.compile(known.pattern, re.IGNORECASE | re.DOTALL)) for known in KNOWN
)
_LONGEST_MESSAGE = 400
_LONGEST_REASON = 240
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # as ONNX Runtime writes them around its warnings
_DEEPEST = 10
_OURS = Path(__file__).parents[2]
_EXPORTED_BY = "exporter "  # begins the note about a call of an exporter
_RAISED_AT = "raised at "  # begins the note about the line of a custom exporter
_NOTICED = tuple((code, re.compile(pattern, re.IGNORECASE), means) for code, pattern, means in NOTICED)


def explain_exception(exc: BaseException, log_tail: str) -> Failure:
    """The failure that an exception means, by its own text and that of its causes, else by the end of the log."""
    text = _text_of(exc)
    context = tuple(("context", _shorten(note)) for note in getattr(exc, "__notes__", ()))
    return _explain(text, exc, context) or _explain(log_tail, exc, context) or _unknown(exc, context)


def noticed(log: str) -> list[str]:
    """The warnings in the log of a step that succeeded: one per row of `NOTICED`, with its code.

    The first matching line is quoted, because it names the file or the setting.
    """
    return [
        f"{code} {means}: {_shorten(log[log.rfind(chr(10), 0, match.start()) + 1 :])}"
        for code, pattern, means in _NOTICED
        if (match := pattern.search(log)) is not None
    ]


def _explain(text: str, exc: BaseException, context: tuple[tuple[str, str], ...]) -> Failure | None:
    for known, pattern in _TABLE:
        if (match := pattern.search(text)) is not None:
            return Failure(
                code=known.code,
                message=_fill(known.headline, match).replace("{reason}", _reason(exc)),
                notes=(("cause", _shorten(_text_of(exc))), *context, ("hint", _fill(known.hint, match))),
                transient=known.transient,
            )
    return None


def note_place(exc: BaseException, place: str) -> None:
    """Note that an exception left the custom exporter at a place such as `mine.py:12`."""
    exc.add_note(f"{_RAISED_AT}{place}")


def note_export(exc: BaseException, circumstances: str) -> None:
    """Note that an exception left an exporter, which was called with these settings and versions."""
    exc.add_note(f"{_EXPORTED_BY}{circumstances}")


@contextmanager
def noted(circumstance: str) -> Iterator[None]:
    """Note on an exception of this block what was being done, for the rows of the table that depend on it."""
    try:
        yield
    except Exception as error:
        error.add_note(circumstance)
        raise


def _unknown(exc: BaseException, context: tuple[tuple[str, str], ...]) -> Failure:
    message = _line_of(exc)
    place = next((note for _, note in context if note.startswith(_RAISED_AT)), None)
    if place is not None:
        message = f"your exporter failed at {place.removeprefix(_RAISED_AT)}: {message}"
    elif any(note.startswith(_EXPORTED_BY) for _, note in context) and not _is_ours(exc):
        message = EXPORT_FAILED.replace("{reason}", _reason(exc))
        return Failure(code="OBE03", message=message, notes=(*context, ("hint", OTHER_TRACER)))
    return Failure(
        code="OBE99" if place is None else "OBE69",
        message=_shorten(message),
        notes=(*context, ("hint", "the log has the full traceback")),
    )


def _reason(exc: BaseException) -> str:
    """What the library says last, in one line: its innermost cause, which the exceptions around it only repeat."""
    for _ in range(_DEEPEST):  # an exception may be its own cause
        exc = exc.__cause__ or exc
    line = _line_of(exc)
    return _shorten(line.rpartition("Detailed error: ")[2], _LONGEST_REASON)


def _line_of(exc: BaseException) -> str:
    """The type of an exception and the first line of its text that is not empty."""
    text = str(exc).strip()
    return f"{type(exc).__name__}: {text.splitlines()[0].strip()}" if text else type(exc).__name__


def _is_ours(exc: BaseException) -> bool:
    """Whether code of onnxbuild raised it, which is a fault of onnxbuild and not of an exporter."""
    frames = traceback.extract_tb(exc.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(_OURS)


def _text_of(exc: BaseException) -> str:
    """The type and text of an exception and of its causes, then its notes."""
    lines: list[str] = []
    current: BaseException | None = exc
    while current is not None and len(lines) < 5:  # noqa: PLR2004 - deeper causes have never added anything
        lines.append(f"{type(current).__name__}: {current}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n".join([*lines, *getattr(exc, "__notes__", ())])


def _fill(template: str, match: re.Match[str]) -> str:
    return re.sub(r"\{(\d)\}", lambda place: match.group(int(place[1])) or "it", template)


def _shorten(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    line = " ".join(_COLOURS.sub("", text.split("\n", 1)[0]).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
