"""Hints for somebody who has installed onnxbuild, and so has no folder `docs/`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PAGE = re.compile(r"\b((?:how-to|reference|explanation|decisions)/[\w-]+) (?:in|of) the documentation")


def texts(path: Path) -> Iterator[str]:
    """The strings of a module, except docstrings that no rule shows."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    shows_docstrings = "rules" in path.parts
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and (shows_docstrings or id(node) not in hidden):
            yield node.value


SHOWN = [
    (path.relative_to(ROOT).as_posix(), text)
    for path in sorted((ROOT / "onnxbuild").rglob("*.py"))
    for text in texts(path)
]


def test_no_text_names_a_file_of_the_clone() -> None:
    wrong = [(name, text) for name, text in SHOWN if re.search(r"(?<!\w/)\bdocs/[\w/-]+\.md\b", text)]
    assert wrong == []


def test_pages_that_are_named_exist() -> None:
    pages = {page for _, text in SHOWN for page in _PAGE.findall(" ".join(text.split()))}
    assert {"how-to/toolchains", "how-to/own-exporter"} <= pages
    assert [page for page in pages if not (ROOT / "docs" / f"{page}.md").is_file()] == []
