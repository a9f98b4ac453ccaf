"""A worker serves requests on a system without prctl, procfs, process groups and `resource`, as on Windows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnxbuild.workers

MAIN = Path(onnxbuild.workers.__file__).with_name("__main__.py")

HIDDEN = """
import builtins, ctypes, os, runpy, sys

sys.modules["resource"] = None
for name in ("killpg", "getpgid", "waitid"):
    delattr(os, name)
ctypes.CDLL = None
is_folder = os.path.isdir
os.path.isdir = lambda path: not str(path).startswith("/proc") and is_folder(path)
opened = builtins.open


def open_less(path, *rest, **more):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(2, "no such file", path)
    return opened(path, *rest, **more)


builtins.open = open_less
main, parent = sys.argv[1:]
sys.argv = [main, parent]
runpy.run_path(main, run_name="__main__")
"""

WORKER = """
import msgspec


class Params(msgspec.Struct):
    number: int


def run(params: Params, inputs, outputs, progress):
    progress("counting", 1, 3)
    print("in the log")
    return {"double": 2 * params.number}
"""


def test_a_request_is_served_without_what_only_linux_has(tmp_path):
    (tmp_path / "doubling.py").write_text(WORKER)
    request = {
        "id": "7", "worker": "doubling:run", "params": {"number": 21}, "inputs": {}, "outputs": {},
        "log": str(tmp_path / "log.txt"), "scratch": str(tmp_path),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", HIDDEN, str(MAIN), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with process:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        progress, response = (json.loads(process.stdout.readline()) for _ in range(2))
        process.stdin.close()
        assert process.wait(30) == 0
    assert (progress["text"], progress["done"], progress["total"]) == ("counting", 1, 3)
    assert (response["facts"], response["failure"], response["retire"]) == ({"double": 42}, None, False)
    assert response["peak_bytes"] == 0
    assert (tmp_path / "log.txt").read_text() == "in the log\n"
