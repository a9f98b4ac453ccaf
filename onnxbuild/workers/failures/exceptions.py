"""Exceptions of the libraries, told in words that help: searched for in the table of `known_errors`.

Nothing heavy is imported here: an import that failed is one of the things to explain.
"""

from __future__ import annotations

import re

from onnxbuild.protocol import Failure
from onnxbuild.workers.failures.known_messages import KNOWN, NOTICED, Known

_TABLE: tuple[tuple[Known, re.Pattern[str]], ...] = tuple(
    (known, re.compile(known.pattern, re.IGNORECASE | re.DOTALL)) for known in KNOWN
)
_LONGEST_MESSAGE = 400
_NOTICED = tuple((code, re.compile(pattern, re.IGNORECASE), means) for code, pattern, means in NOTICED)


def explain_exception(exc: BaseException, log_tail: str) -> Failure:
    """What happened, in words: from the exception and those that it came from, else from the end of the log."""
    told = _told(exc)
    context = tuple(("context", _shorten(note)) for note in getattr(exc, "__notes__", ()))
    return _explain(told, told, context) or _explain(log_tail, told, context) or _unknown(exc, context)


def noticed(log: str) -> list[str]:
    """What the log of a step that succeeded says and someone should know: a line for each kind of thing, with its code.

    The first line that says it is quoted, since it names the file or the setting.
    """
    return [
        f"{code} {means}: {_shorten(log[log.rfind(chr(10), 0, match.start()) + 1 :])}"
        for code, pattern, means in _NOTICED
        if (match := pattern.search(log)) is not None
    ]


def _explain(text: str, told: str, context: tuple[tuple[str, str], ...]) -> Failure | None:
    for known, pattern in _TABLE:
        if (match := pattern.search(text)) is not None:
            return Failure(
                code=known.code,
                message=_fill(known.headline, match),
                notes=(("cause", _shorten(told)), *context, ("hint", _fill(known.hint, match))),
                transient=known.transient,
            )
    return None


def _unknown(exc: BaseException, context: tuple[tuple[str, str], ...]) -> Failure:
    return Failure(
        code="OBE99",
        message=_shorten(f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__),
        notes=(*context, ("hint", "the log holds the whole story")),
    )


def _told(exc: BaseException) -> str:
    """The exception's type and text, and those of the ones that it came from; last what was noted on it."""
    lines: list[str] = []
    seen: BaseException | None = exc
    while seen is not None and len(lines) < 5:  # noqa: PLR2004 - deeper causes have never told more
        lines.append(f"{type(seen).__name__}: {seen}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join([*lines, *getattr(exc, "__notes__", ())])


def _fill(template: str, match: re.Match[str]) -> str:
    return re.sub(r"\{(\d)\}", lambda place: match.group(int(place[1])) or "it", template)


def _shorten(text: str) -> str:
    line = " ".join(text.split("\n", 1)[0].split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 1]}…"
