# ruff: noqa: INP001 - a script
"""Run `pip install` and show its phases, because pip prints either nothing for a minute or several lines per package.

On a terminal one line follows the download; elsewhere there is one line per phase.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator

# Metadata comes first, in a separate file; only the archive counts as the package.
_DOWNLOAD = re.compile(r"\s+(?:Downloading|Using cached) (?:\S*/)?([\w.]+)-(\d[^-]*)-?\S*(?:\.whl|\.tar\.gz) \((.+)\)")
_INSTALL = "Installing collected packages: "


def main(arguments: list[str]) -> int:
    """Install, and return pip's exit code."""
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *arguments]
    show = rewrite if sys.stdout.isatty() else append
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pip:
        warnings = threading.Thread(target=pass_on, args=(pip.stderr or (),))
        warnings.start()
        show(phases(pip.stdout or ()))
        warnings.join()
    return pip.returncode


def pass_on(lines: Iterable[str]) -> None:
    """Print what pip writes to stderr, each line in place of the one that the packages overwrite."""
    clear = "\r\033[K" if sys.stdout.isatty() and sys.stderr.isatty() else ""
    for line in lines:
        print(f"{clear}{line}", end="", file=sys.stderr, flush=True)


def phases(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The lines to show, and whether each opens a phase."""
    yield "collecting packages", True
    number = 0
    for line in lines:
        if download := _DOWNLOAD.match(line):
            number += 1
            name, version, size = download.groups()
            yield f"package {number}: {name} {version} ({size})", False
        elif line.startswith(_INSTALL):
            count = len(line.removeprefix(_INSTALL).split(","))
            yield f"installing {count} packages: up to a minute", True


def append(shown: Iterable[tuple[str, bool]]) -> None:
    """One line per phase."""
    for text, opens in shown:
        if opens:
            print(text, flush=True)


def rewrite(shown: Iterable[tuple[str, bool]]) -> None:
    """One line per phase, which the packages overwrite meanwhile."""
    for text, opens in shown:
        print(f"\r\033[K{text}", end="\n" if opens else "", flush=True)
    print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
