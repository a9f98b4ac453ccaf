"""Transcripts: commands as a person types them, with their whole output and exit code.

Each file in transcripts/ holds `$ onnxbuild …` lines, what they print (standard output, then standard error) and
`[exit N]`. `pytest --update` rewrites them, and the diff is the review. `<…>` replaces what varies.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "transcripts"
WORLD = FOLDER / "world"


def run(command: str, folder: Path) -> str:
    """A command's line, output and exit code, with what varies replaced."""
    arguments = shlex.split(command)[1:]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONPATH": str(FOLDER.parent.parent)}
    environment.pop("ONNXBUILD_STORE", None)
    done = subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    text = (done.stdout + done.stderr).replace(str(folder.resolve()), "<folder>")
    text = re.sub(r"\b[0-9a-f]{64}\b", "<digest>", text)
    text = re.sub(r"(avx512_vnni|avx512|avx2|arm64)\b", "<preset>", text)
    return f"$ {command}\n{text}[exit {done.returncode}]\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for source in WORLD.rglob("*"):
        place = tmp_path / source.relative_to(WORLD)
        if source.is_dir():
            place.mkdir(exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())
    commands = [line[2:] for line in path.read_text().splitlines() if line.startswith("$ onnxbuild")]
    assert commands, "a transcript has at least one command"
    happened = "\n".join(run(command, tmp_path) for command in commands)
    if request.config.getoption("--update"):
        path.write_text(happened)
    assert happened == path.read_text()
