"""measured.jsonl: the last result of each variant, one JSON object per line, kept in the repository.

Sorted by exporter, type and variant, so that a diff shows what has changed. The page is made from it, and `--continue`
skips what it has. Each row is written at once, as a run takes hours and may be stopped.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builds import VARIANTS
from judging import VERDICTS

MEASURED = Path(__file__).with_name("measured.jsonl")
_FIELDS = ("exporter", "type", "variant", "verdict", "code", "message", "date")
_LONGEST = 200  # characters of a message


def results(path: Path = MEASURED) -> list[dict[str, Any]]:
    """The rows, sorted; none if there is no file. Errors: SystemExit names a line that is no row."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return [_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        is_row = all(isinstance(row[name], str) for name in _FIELDS) and row["verdict"] in VERDICTS
    except (ValueError, TypeError, KeyError):
        is_row = False
    if not is_row or row["variant"] not in VARIANTS:
        raise SystemExit(f"{place}: no result of a variant: {line[:80]!r}. `git checkout {place.partition(':')[0]}`"
                         " restores the file")  # fmt: skip
    return dict(row)


def keep(rows: Iterable[Mapping[str, Any]], path: Path = MEASURED) -> None:
    """Write rows in place of the earlier ones of the same variants. Others may have written since: it is read again.

    Only one process at a time reads and writes it.
    """
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write(rows, path)


def _write(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    known = {_place(row): row for row in results(path)}
    known.update({_place(row): {name: row[name] for name in _FIELDS} | _message(row) for row in rows})
    lines = [json.dumps(known[place], ensure_ascii=False) + "\n" for place in sorted(known)]
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text("".join(lines), encoding="utf-8")
    new.replace(path)


def _place(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["exporter"], row["type"], list(VARIANTS).index(row["variant"])


def _message(row: Mapping[str, Any]) -> dict[str, str]:
    """One line, without the folders of this machine."""
    words = " ".join(row["message"].split()).replace(str(Path.home()), "~")
    return {"message": words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"}
