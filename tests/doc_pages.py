"""The pages of the documentation as programs: their code blocks in order, and someone who follows them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_FAULT = re.compile(r"OB\d+ .*\n")  # a block of one line: what stops a command before anything runs
_FIGURE = re.compile(r"\d[\d.]*")


class Block(NamedTuple):
    """One fenced block; `title` is the file that it shows, empty if it shows none."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order, except those without a language."""
    return [Block(*parts) for parts in _BLOCK.findall(page.read_text(encoding="utf-8"))]


class Reader:
    """Someone who follows a page in `folder`: writes the files that have a title, and runs the commands in order.

    `instead` maps a command of the page to the one that the test runs. `small` maps a text of the page's files to one
    that takes less time. `environment` is added to the variables of every command.
    """

    def __init__(
        self,
        folder: Path,
        instead: Mapping[str, str] | None = None,
        small: Mapping[str, str] | None = None,
        **environment: str,
    ) -> None:
        self.folder, self.instead, self.small = folder, dict(instead or {}), dict(small or {})
        self.environment = {**_environment(), **environment}
        self.output = ""

    def follow(self, page: str) -> None:
        """Errors: AssertionError if a command fails, or does not print what the page says."""
        steps = blocks(DOCS / page)
        for block, following in zip(steps, [*steps[1:], None], strict=True):
            if block.title:
                self.write(block.title, block.text)
            elif block.language == "sh":
                self._run_all(block.text, fails=following is not None and _shows_a_failure(following))
            elif block.language == "text":
                self._expect(block.text)
        text = (DOCS / page).read_text(encoding="utf-8")
        unused = [part for part in (*self.instead, *self.small) if part not in text]
        assert not unused, f"{page} no longer has {unused}"

    def write(self, name: str, text: str) -> None:
        """Put a file where the page says that it is."""
        for original, shorter in self.small.items():
            text = text.replace(original, shorter)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def events(self, command: str) -> list[dict[str, Any]]:
        """Run a command with `--json`; the objects that it prints."""
        self.output = ""
        self._run(command, fails=False)
        return [json.loads(line) for line in self.output.splitlines()]

    def _run_all(self, commands: str, *, fails: bool) -> None:
        self.output = ""
        for line in commands.splitlines():
            self._run(self.instead.get(line.partition(" #")[0].strip(), line), fails=fails)

    def _run(self, command: str, *, fails: bool) -> None:
        if (into := re.fullmatch(r"mkdir (\S+) && cd \1", command)) is not None:
            self.folder = self.folder / into[1]
            self.folder.mkdir()
            return
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        self.output += done.stdout + done.stderr
        expected = {1, 2} if fails else {0}
        assert done.returncode in expected, f"{command}: exit {done.returncode}\n{self.output}"

    def _expect(self, text: str) -> None:
        """Each line of a page's output was printed, except for figures and spaces between columns; `…` is any text."""
        printed = [_stable(line) for line in self.output.splitlines()]
        for line in filter(str.strip, text.splitlines()):
            pattern = ".*".join(map(re.escape, _stable(line).split("…")))
            assert any(re.fullmatch(pattern, one) for one in printed), f"not printed: {line}\n{self.output}"


def _shows_a_failure(block: Block) -> bool:
    return block.language == "text" and (" failed: " in block.text or _FAULT.fullmatch(block.text) is not None)


def _stable(line: str) -> str:
    return _FIGURE.sub("#", " ".join(line.split()))


def _environment() -> dict[str, str]:
    """The commands of this environment come first; no terminal, no colour, and nothing of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ONNXBUILD_", "AWS_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
