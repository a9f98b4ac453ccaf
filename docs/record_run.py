# ruff: noqa: INP001 - a script
"""Records `onnxbuild run manifests/quickstart.yaml` twice, and writes docs/pictures/run.svg.

    python docs/record_run.py

The first run starts from an empty store in a temporary folder, so it takes as long as a build. Each line appears in the
picture when it appeared in the run, with the time of a build shortened to `SECONDS`. A program that shows no animation
shows all lines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "run.svg"
COMMAND = "onnxbuild run manifests/quickstart.yaml"
SECONDS = 12.0
WIDTH, LINE, MARGIN = 104, 18, 16
STYLE = (
    "text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
    ".l{animation:show .01s both}@keyframes show{from{opacity:0}to{opacity:1}}"
)
COLORS = {"$": "#ffffff", "built": "#7ee787", "hit": "#79c0ff", "up": "#79c0ff", "wrote": "#8b949e"}


class Line(NamedTuple):
    """A line of output, and the seconds since the first command when it was printed."""

    seconds: float
    text: str


def record(store: str, start: float) -> list[Line]:
    """Run the command; what it prints, with the command first."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "onnxbuild", *COMMAND.split()[1:], "--store", store]
    lines = [Line(time.monotonic() - start, f"$ {COMMAND}")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, text=True, **pipes) as process:
        for text in process.stdout or ():
            if not text.startswith("running "):
                lines.append(Line(time.monotonic() - start, text.rstrip()[:WIDTH]))  # noqa: PERF401 - with the time of each
    if process.returncode:
        sys.exit("\n".join(line.text for line in lines))
    return lines


def drawn(lines: list[Line]) -> str:
    """The lines as an SVG whose lines appear one after the other."""
    end = lines[-1].seconds
    height = 2 * MARGIN + LINE * len(lines)
    rows = [_row(number, line, SECONDS * line.seconds / end) for number, line in enumerate(lines)]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * 8 + 2 * MARGIN} {height}" role="img">',
        f"<title>{escape(COMMAND)}, run twice</title>",
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
        *rows,
        "</svg>",
        "",
    ])  # fmt: skip


def _row(number: int, line: Line, delay: float) -> str:
    color = COLORS.get(line.text.partition(" ")[0], "#c9d1d9")
    place = f'x="{MARGIN}" y="{MARGIN + LINE * number + 13}" fill="{color}" style="animation-delay:{delay:.2f}s"'
    return f'<text class="l" xml:space="preserve" {place}>{escape(line.text)}</text>'


def main() -> None:
    """Record both runs and draw them."""
    with tempfile.TemporaryDirectory() as store:
        start = time.monotonic()
        lines = [*record(store, start), Line(time.monotonic() - start, ""), *record(store, start)]
    PICTURE.write_text(drawn(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
