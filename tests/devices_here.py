"""Devices that a test has, or has not: the files of drivers, and the tool of a card."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from onnxbuild.needs import devices

CARD = "QID 0\n\tStatus:Ready\n"


def nvidia(monkeypatch: pytest.MonkeyPatch, gpus: Iterable[str] = ("nvidia0",)) -> None:
    """The driver of NVIDIA, with the files of GPUs."""
    drivers(monkeypatch, {"/dev": ("null", "nvidiactl", "nvidia-uvm", *gpus)}, "/dev/nvidiactl")


def drivers(monkeypatch: pytest.MonkeyPatch, folders: dict[str, tuple[str, ...]], *files: str) -> None:
    """Files of the system, and the names in its folders."""
    has_file = os.path.exists
    monkeypatch.setattr("os.path.exists", lambda path: path in {*files, *folders} or has_file(path))
    monkeypatch.setattr(devices, "names_in", folders.get)


def card_tool(folder: Path, text: str = CARD, code: int = 0, *, then: str = "") -> Path:
    """A `qaic-util` in a folder for the PATH, which prints a text."""
    folder.mkdir(exist_ok=True)
    tool = folder / devices.CARD_TOOL
    tool.write_text(f"#!/bin/sh\n[ \"$*\" = -q ] || exit 9\ncat <<'END'\n{text}END\n{then}\nexit {code}\n")
    tool.chmod(0o755)
    devices._asked.cache_clear()
    return tool
