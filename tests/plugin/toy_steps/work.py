"""The worker of `toy`: appends its text to every file, after it has done what its params say."""

from __future__ import annotations

import base64
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.journal import Journal
from toy_steps import ToyParams

_CHUNK = 4096


def run(params: ToyParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], tell: Any) -> Mapping[str, Any]:
    if params.do == "note":
        return _note(params, inputs["model"], outputs)
    if params.tally:
        with open(params.tally, "a", encoding="utf-8") as file:
            file.write(f"{params.text} {os.getpid()}\n")
    out = outputs["model"]
    if params.do == "leak":
        return _leak(params, inputs["model"], out, tell)
    if params.do != "append":
        _DEEDS[params.do](params, out)
    if params.do in {"nothing", "pipe"}:
        return {}
    if params.do == "link":
        (out / "model.onnx").symlink_to(os.path.realpath(inputs["model"] / "model.onnx"))
        return {}
    _append(params, inputs["model"], out)
    return {"value": object()} if params.do == "not-plain" else {"pid": os.getpid(), **_size(params)}


def _size(params: ToyParams) -> Mapping[str, Any]:
    return {"bytes": params.number} if params.number and params.do == "append" else {}


def _note(params: ToyParams, source: Path, outputs: Mapping[str, Path]) -> Mapping[str, Any]:
    """Note five values, each with a line in the tally. The third waits until a file beside the tally exists."""
    journal = Journal(outputs["journal"])

    def find(number: int) -> int:
        with open(params.tally, "a", encoding="utf-8") as file:
            file.write(f"{number}\n")
        while number == 3 and not os.path.exists(f"{params.tally}.go"):
            time.sleep(0.01)
        return number * number

    found = [journal.noted(str(number), partial(find, number)) for number in range(1, 6)]
    if params.number:
        raise CheckFailed("OBE00", "told to fail")
    _append(params, source, outputs["model"])
    return {"found": found}


def _append(params: ToyParams, source: Path, out: Path) -> None:
    """Write slowly and in pieces, so that a kill finds half-written files."""
    names = sorted(path.name for path in source.iterdir())
    for name in names:
        data = (source / name).read_bytes() + params.text.encode()
        with open(out / name, "wb") as file:
            for start in range(0, len(data), _CHUNK):
                file.write(data[start : start + _CHUNK])
                file.flush()
                time.sleep(params.seconds / len(names) / max(1, len(data) // _CHUNK))


def _hog(params: ToyParams, _out: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (params.number, params.number))
    held = []
    while True:
        held.append(bytearray(params.number // 4))


def _die(params: ToyParams, _out: Path) -> None:
    os.kill(os.getpid(), params.number)
    time.sleep(60)


def _exit(params: ToyParams, _out: Path) -> None:
    os._exit(params.number)


def _hang(params: ToyParams, _out: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(params.seconds)


_SCRIBBLER = """
import os, sys, time
end = time.monotonic() + float(sys.argv[2])
file = open(sys.argv[1], "ab")
while time.monotonic() < end:
    file.write(b"scribble")
    file.flush()
    time.sleep(0.002)
"""


def _child(params: ToyParams, out: Path) -> None:
    """A child that goes on writing into the output after the action has ended."""
    subprocess.Popen([sys.executable, "-I", "-S", "-c", _SCRIBBLER, str(out / "model.onnx"), str(params.number)])
    time.sleep(0.2)


def _daemon(params: ToyParams, out: Path) -> None:
    """The same, with its own session and without a parent."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _SCRIBBLER, str(out / "model.onnx"), "60"])
        os._exit(0)
    time.sleep(0.2)


def _fork(params: ToyParams, _out: Path) -> None:
    """A forked child holds the pipe to the command while the worker itself dies."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
    os._exit(params.number)


def _shout(params: ToyParams, _out: Path) -> None:
    line = "x" * 1023 + "\n"
    for number in range(params.number // 1024):
        (sys.stdout if number % 2 else sys.stderr).write(line)
    os.write(1, b"straight to the descriptor\n")


def _protocol() -> int:
    """The descriptor of the pipe to the command, which a library can hit by accident."""
    return max(
        number for number in map(int, os.listdir("/proc/self/fd"))
        if os.path.exists(f"/proc/self/fd/{number}") and os.readlink(f"/proc/self/fd/{number}").startswith("pipe:")
    )  # fmt: skip


def _partial(params: ToyParams, _out: Path) -> None:
    os.write(_protocol(), b'{"type":"response","id":"')
    os.kill(os.getpid(), signal.SIGKILL)


def _garbage(params: ToyParams, _out: Path) -> None:
    os.write(_protocol(), b"this is no JSON\n[1, 2]\n")


def _close(params: ToyParams, _out: Path) -> None:
    os.closerange(3, 256)
    time.sleep(params.seconds)


def _fill(params: ToyParams, out: Path) -> None:
    with open(out / "large", "wb") as file:
        file.write(b"\0" * params.number)


def _pipe(params: ToyParams, out: Path) -> None:
    os.mkfifo(out / "pipe")


def _pass(_params: ToyParams, _out: Path) -> None:
    pass


def _scribble(params: ToyParams, _out: Path) -> None:
    """Crash inside C code."""
    ctypes.string_at(0)


def _leak(params: ToyParams, source: Path, out: Path, tell: Any) -> Mapping[str, Any]:
    """A library that prints a password in every form. The param holds it backwards, since params are kept."""
    secret = params.text[::-1]
    encoded = base64.b64encode(f"user:{secret}".encode()).decode()
    for text in (secret, quote(secret, safe=""), encoded, f"https://user:{secret}@host/?k={secret}#{secret}",
                 f"{secret[:9]}\n    {secret[9:]}"):  # fmt: skip
        print(text, flush=True)
        tell(text)
    if params.number:
        raise RuntimeError(f"no access with {secret}, that is {encoded}")
    (out / "model.onnx").write_bytes((source / "model.onnx").read_bytes())
    return {"because": f"asked {secret}", "warnings": [quote(secret, safe="")], "deep": [{secret: encoded}]}


_DEEDS = {
    "hog": _hog, "die": _die, "exit": _exit, "hang": _hang, "child": _child, "daemon": _daemon, "fork": _fork,
    "shout": _shout, "partial": _partial, "garbage": _garbage, "close": _close, "fill": _fill, "pipe": _pipe,
    "nothing": _pass, "link": _pass, "not-plain": _pass, "scribble": _scribble,
}  # fmt: skip
