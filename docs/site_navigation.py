# ruff: noqa: INP001 - a hook of mkdocs
"""Completes the navigation of mkdocs.yml: a page that it does not name comes last in the section of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
FOLDERS = {"How-to": "how-to", "Reference": "reference", "Explanation": "explanation", "Decisions": "decisions"}


def on_config(config: Any) -> Any:
    """Called by mkdocs once it has read mkdocs.yml."""
    for section in config["nav"]:
        for title, pages in section.items():
            if title in FOLDERS:
                pages.extend(sorted(pages_of(FOLDERS[title]) - set(pages)))
    return config


def pages_of(folder: str) -> set[str]:
    """The pages of a folder, as paths below docs/."""
    return {path.relative_to(DOCS).as_posix() for path in (DOCS / folder).glob("*.md")}
