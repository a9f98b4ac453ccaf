# ruff: noqa: INP001 - a script
"""Records `onnxbuild run manifests/quickstart.yaml` twice, and writes docs/pictures/run.svg and report.png.

    python docs/record_run.py

It builds in a temporary folder from nothing, so use a machine that has nothing else to do. Each line appears in run.svg
when it appeared in the run, with the time of the build shortened to `SECONDS`. report.png is the top of the
report, drawn by `chromium`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COMMAND = "onnxbuild run manifests/quickstart.yaml"
REPORT = "manifests/out/quickstart-report.html"
SIZE = "1000,1250"
SECONDS = 12.0
WIDTH, LINE, MARGIN = 120, 18, 16
STYLE = (
    "text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
    ".l{animation:show .01s both}@keyframes show{from{opacity:0}to{opacity:1}}"
)
COLORS = {"$": "#ffffff", "built": "#7ee787", "hit": "#79c0ff", "up": "#79c0ff", "wrote": "#8b949e"}


class Line(NamedTuple):
    """A line of output, and the seconds since the first command when it was printed."""

    seconds: float
    text: str


def record(folder: Path, start: float) -> list[Line]:
    """Run the command; what it prints, with the command first."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", *COMMAND.split()]
    lines = [Line(time.monotonic() - start, f"$ {COMMAND}")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(arguments, cwd=folder, env=environment, text=True, **pipes) as process:
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


def photograph(folder: Path) -> None:
    """Let Chromium draw the report of the build."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    report = [sys.executable, "-m", "onnxbuild", "report", "manifests/quickstart.yaml"]
    subprocess.run(report, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={SIZE}", "--hide-scrollbars"]
    picture = PICTURES / "report.png"
    page = (folder / REPORT).as_uri()
    subprocess.run([*browser, f"--user-data-dir={folder / 'browser'}", f"--screenshot={picture}", page], check=True)


def main() -> None:
    """Record both runs, draw them and the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "manifests").mkdir()
        shutil.copy(ROOT / "manifests" / "quickstart.yaml", folder / "manifests")
        start = time.monotonic()
        lines = [*record(folder, start), Line(time.monotonic() - start, ""), *record(folder, start)]
        (PICTURES / "run.svg").write_text(drawn(lines), encoding="utf-8")
        photograph(folder)


if __name__ == "__main__":
    main()
