"""Writes docs/reference/breadth.md from the results."""

from __future__ import annotations

from typing import Any


def write_page(rows: list[dict[str, Any]]) -> None:
    """Write the page."""
