"""The npm packages that check a package: Transformers.js, and what starts a browser, in the versions of a lock file.

They are installed once per machine, below the user's cache. Their own scripts do not run: they would download libraries
for CUDA.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.tables.publishing.javascript_dtypes import BROWSERS

CLIENTS = Path(__file__).with_name("clients")
LIBRARY = "@huggingface/transformers"
_INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1")
_TIMEOUT_SECONDS = 600
_FILES = ("package.json", "package-lock.json")


class ClientAbsent(Exception):  # noqa: N818 - it is no fault of the package
    """What a check needs and this machine lacks: `needs node`."""


def node() -> str:
    """The path of Node. Errors: ClientAbsent."""
    path = shutil.which("node")
    if path is None:
        raise ClientAbsent("needs node")
    return path


def browser() -> str:
    """The path of Chromium, or of Chrome. Errors: ClientAbsent."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise ClientAbsent("needs chromium")
    return path


def version_of(major: int) -> str:
    """The locked version of the library."""
    project = json.loads((_declaration(major) / "package.json").read_text(encoding="utf-8"))
    return str(project["dependencies"][LIBRARY])


def project_folder(major: int, tell: Tell) -> Path:
    """The folder whose `node_modules` has the packages, installed where it is missing.

    Errors: ClientAbsent without npm; CheckFailed OBE195 if npm fails: the next run shall try again, and not find a
    check that was skipped.
    """
    declaration = _declaration(major)
    lock = (declaration / "package-lock.json").read_bytes()
    folder = _cache() / f"{declaration.name}-{sha256(lock).hexdigest()[:16]}"
    if not (folder / "node_modules").is_dir():
        tell(f"installing {LIBRARY} {version_of(major)}")
        _install(declaration, folder, f"{LIBRARY} {version_of(major)}")
    return folder


def _declaration(major: int) -> Path:
    return CLIENTS / f"transformers-js-{major}"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "onnxbuild" / "clients"


def _install(declaration: Path, folder: Path, what: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ClientAbsent(f"needs npm, to install {what}")
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")  # another run may install them at the same time
    try:
        fresh.mkdir(parents=True)
        for name in _FILES:
            shutil.copyfile(declaration / name, fresh / name)
        _run_npm(npm, fresh, what)
        with contextlib.suppress(OSError):  # the other one was first
            fresh.rename(folder)
    except OSError as error:
        raise _not_installed(what, error.strerror or str(error)) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run_npm(npm: str, folder: Path, what: str) -> None:
    try:
        done = subprocess.run(
            [npm, *_INSTALL], cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise _not_installed(what, f"npm did not end within {_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        raise _not_installed(what, reason.strip()[:200])


def _not_installed(what: str, reason: str) -> CheckFailed:
    hint = "run it again where npm reaches its registry, or write `client: false` in the package"
    return CheckFailed(
        "OBE195", f"{what}, which checks the package, was not installed: {reason}", notes=[("hint", hint)]
    )
