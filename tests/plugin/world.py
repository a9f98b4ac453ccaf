"""A folder with a manifest of toy steps, built by the command as a process: what the tests of real processes share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from blake3 import blake3

PLUGIN = Path(__file__).parent
ROOT = PLUGIN.parents[1]
WORLD = "TOY_WORLD"  # marks every process of a world


def _heed_hangups() -> None:
    """A test run under `nohup` ignores SIGHUP, and so would every command that it starts. Takes no lock after fork."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class World:
    """A manifest and the files around it. `mark` finds all processes that belong to it."""

    def __init__(self, root: Path, *, store: Path | None = None) -> None:
        self.root = root
        self.store = store or root / ".onnxbuild" / "store"
        self.mark = uuid.uuid4().hex
        self.environment = {
            **os.environ, "PYTHONPATH": f"{PLUGIN}{os.pathsep}{ROOT}", WORLD: self.mark, "HF_HUB_OFFLINE": "1",
            "PYTHONDONTWRITEBYTECODE": "1", "ONNXBUILD_WORKER_ENV": WORLD,
        }  # fmt: skip
        (root / "model").mkdir(parents=True, exist_ok=True)
        (root / "model" / "model.onnx").write_bytes(b"model " * 2000)
        (root / "model" / "config.json").write_text("{}")

    def manifest(
        self, steps: dict[str, list[dict[str, Any]]], name: str = "manifest.yaml", *, kind: str = "toy", **more: Any
    ) -> Path:
        """Write a manifest: one model, for each target its toy steps."""
        model = {"source": "onnx:model", "validate": False, "load": False, "benchmark": False}
        model |= {"targets": list(steps), **more}
        targets = {target: {"steps": [{kind: step} for step in of]} for target, of in steps.items()}
        path = self.root / name
        path.write_text(json.dumps({"onnxbuild": 1, "targets": targets, "models": {"m": model}}))  # JSON is YAML
        return path

    def command(self, *arguments: str, name: str = "manifest.yaml", verb: str = "run") -> list[str]:
        return [sys.executable, "-m", "onnxbuild", verb, name, "--store", str(self.store), *arguments]

    def start(self, *arguments: str, name: str = "manifest.yaml", verb: str = "run",
              **more: Any) -> subprocess.Popen[str]:  # fmt: skip
        more.setdefault("preexec_fn", _heed_hangups)
        return subprocess.Popen(
            self.command(*arguments, name=name, verb=verb), cwd=self.root, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            **more,
        )  # fmt: skip

    def run(self, *arguments: str, **more: Any) -> Ended:
        """Run to the end."""
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err)

    def run_arguments(self, arguments: list[str]) -> Ended:
        """Run any command line in the folder of the manifest."""
        done = subprocess.run(
            arguments, cwd=self.root, env=self.environment, text=True, stdin=subprocess.DEVNULL, capture_output=True,
            check=False, timeout=120,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def processes(self) -> list[int]:
        """The living processes of this world, keepers included."""
        found = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                environment = Path("/proc", name, "environ").read_bytes()
            except OSError:
                continue
            if f"{WORLD}={self.mark}".encode() in environment:
                found.append(int(name))
        return found

    def wait_for_silence(self, seconds: float = 5.0) -> list[int]:
        """Wait until no process of this world is alive; returns those that remain after the time limit."""
        until = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < until:
            time.sleep(0.01)
        return found

    # -- what must hold at every moment ---------------------------------------------------------------------------

    def damaged_blobs(self) -> list[str]:
        blobs = [path for path in (self.store / "blobs").rglob("*") if path.is_file()]
        return [path.name for path in blobs if blake3(path.read_bytes()).hexdigest() != path.name]

    def torn_folders(self) -> list[str]:
        """Folders under out/ that differ from what their own onnxbuild.json lists."""
        return [str(folder) for folder in (self.root / "out").glob("*/*") if folder.name[0] != "." and torn(folder)]

    def delivered(self) -> dict[str, bytes]:
        """Every delivered model, by target."""
        return {path.parent.name: path.read_bytes() for path in (self.root / "out").glob("*/[!.]*/model.onnx")}

    def left_behind(self) -> list[str]:
        """Working folders, lock files, and partial folders next to outputs."""
        places = [*(self.store / "work").glob("*"), *(self.store / "locks").glob("*"), self.store / "sweeping",
                  *(self.root / "out").glob("*/.*")]  # fmt: skip
        return [str(path) for path in places if path.exists()]


class Ended:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def actions(self) -> dict[str, dict[str, Any]]:
        """What `--json` printed about each action."""
        return {line["id"]: line for line in self.lines() if line["event"] == "action"}

    def outcomes(self) -> dict[str, str]:
        return {name: line["outcome"] for name, line in self.actions().items()}

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


def torn(folder: Path) -> bool:
    """Whether a folder differs from what it lists; one that is replaced meanwhile does not count."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listed = json.loads(_read(descriptor, "onnxbuild.json"))["files"]
        return any(blake3(_read(descriptor, name)).hexdigest() != file["blake3"] for name, file in listed.items())
    except OSError:
        return os.path.exists(folder) and os.fstat(descriptor).st_ino == os.stat(folder).st_ino
    finally:
        os.close(descriptor)


def _read(folder: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    with open(descriptor, "rb") as file:
        return file.read()
