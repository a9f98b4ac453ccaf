"""Packages of npm for the tests of examples in JavaScript, installed once per machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import platformdirs
import pytest

PACKAGES = {"@huggingface/transformers": "4.3.1", "onnxruntime-node": "1.30.0"}


@cache
def node_modules() -> Path:
    """Their folder. The test is skipped where Node or npm is missing, or the packages cannot be installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node or npm is missing")
    name = "-".join(f"{one.rpartition('/')[2]}-{version}" for one, version in PACKAGES.items())
    root = platformdirs.user_cache_path("onnxbuild-tests-node", appauthor=False) / name
    if not root.exists():
        fresh = root.with_name(f".{name}.{os.getpid()}")  # another process may install them at the same time
        try:
            _install(fresh)
            with contextlib.suppress(OSError):  # the other one was first
                fresh.rename(root)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return root / "node_modules"


def _install(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
    # Their scripts download libraries for CUDA. A registry that does not answer must not hold up the tests.
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot install the packages in five minutes")
    if done.returncode:
        pytest.skip(f"npm cannot install the packages: {done.stderr[-300:]}")


def run_module(text: str, folder: Path) -> str:
    """What an ES module prints that is run in a folder."""
    modules = node_modules()
    link = folder / "node_modules"
    if not link.exists():
        os.symlink(modules, link, target_is_directory=True)
    (folder / "example.mjs").write_text(text)
    done = subprocess.run(
        ["node", "example.mjs"], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
