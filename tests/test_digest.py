"""Digests of files: the same whatever way a file is read, and a file that shrinks meanwhile ends no process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from onnxbuild.digest import digest_bytes, digest_file

LARGE = 4 << 20  # from here on files are hashed in parallel


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, LARGE + 1, (16 << 20) + 5])
@pytest.mark.parametrize("mapped", [False, True])
def test_the_digest_is_blake3_of_the_content(tmp_path: Path, size: int, *, mapped: bool) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    expected = blake3(data[:size]).hexdigest()
    assert digest_file(tmp_path / "file", size, mapped=mapped) == digest_bytes(data[:size]) == expected
    # The size is only a hint about the way: a file that has grown or shrunk since has the digest of what it holds.
    assert digest_file(tmp_path / "file", LARGE if size < LARGE else 0, mapped=mapped) == expected


SHRINKING = """
import os, sys, threading
from pathlib import Path
from onnxbuild.digest import digest_file
path, size, end = Path(sys.argv[1]), 32 << 20, threading.Event()
def shrink():
    while not end.is_set():
        os.truncate(path, size)
        end.wait(0.002)
        os.truncate(path, 0)
        end.wait(0.001)
path.touch()
thread = threading.Thread(target=shrink)
thread.start()
for _ in range(100):
    assert len(digest_file(path, size)) == 64
end.set()
thread.join()
"""


def test_a_file_that_shrinks_while_it_is_read_ends_no_process(tmp_path: Path) -> None:
    """A mapped file would: SIGBUS."""
    done = subprocess.run([sys.executable, "-c", SHRINKING, str(tmp_path / "file")], check=False, timeout=120)
    assert done.returncode == 0
