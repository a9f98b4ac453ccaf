"""An editor with the YAML language server completes and checks a manifest with the schema in schemas/."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCHEMA = Path(__file__).parent.parent / "schemas" / "manifest.schema.json"
SERVER = "yaml-language-server@1.19.2"

pytestmark = pytest.mark.heavy


class Editor:
    """Speaks the language server protocol, as an editor does, over the server's standard streams."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.folder = folder
        self.number = 0
        self.diagnostics: dict[str, list[dict[str, Any]]] = {}
        self.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": {
            "workspace": {"configuration": True},
            "textDocument": {"completion": {"completionItem": {"snippetSupport": False}}},
        }})  # fmt: skip
        self.tell("initialized", {})

    def tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> Any:
        self.number += 1
        self._send({"id": self.number, "method": method, "params": params})
        return self._until(lambda message: message.get("id") == self.number and "method" not in message)["result"]

    def open(self, name: str, text: str) -> str:
        uri = (self.folder / name).as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        return uri

    def faults(self, uri: str) -> list[str]:
        self._until(lambda _message: uri in self.diagnostics)
        return [one["message"] for one in self.diagnostics[uri]]

    def completions(self, uri: str, line: int, column: int) -> set[str]:
        answer = self.ask(
            "textDocument/completion", {"textDocument": {"uri": uri}, "position": {"line": line, "character": column}}
        )
        return {item["label"] for item in answer["items"]}

    def hover(self, uri: str, line: int, column: int) -> str:
        position = {"line": line, "character": column}
        answer = self.ask("textDocument/hover", {"textDocument": {"uri": uri}, "position": position})
        return str(answer["contents"]["value"])

    def _until(self, wanted: Any) -> Any:
        while True:
            if self.diagnostics and wanted({}):
                return None
            message = self._receive()
            if message.get("method") == "textDocument/publishDiagnostics":
                self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
            elif "method" in message and "id" in message:  # the server asks for its configuration
                settings = {"yaml": {"validate": True, "completion": True, "schemaStore": {"enable": False}}}
                items = message["params"].get("items", [])
                self._send({"id": message["id"], "result": [settings.get(i.get("section")) for i in items]})
            if wanted(message):
                return message

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the language server has gone"
        return json.loads(self.process.stdout.read(length))


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    assert shutil.which("npm"), "npm is needed to install the YAML language server"
    folder = tmp_path_factory.mktemp("editor")
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", SERVER], cwd=folder, check=True)
    command = [str(folder / "node_modules" / ".bin" / "yaml-language-server"), "--stdio"]
    editor = Editor(command, folder)
    yield editor
    editor.process.kill()
    editor.process.wait()
    editor.process.stdin.close()
    editor.process.stdout.close()


HEAD = f"# yaml-language-server: $schema={SCHEMA.as_uri()}\nonnxbuild: 1\n"


def test_an_editor_finds_no_fault_in_the_quickstart(editor: Editor) -> None:
    text = (Path(__file__).parent.parent / "manifests" / "quickstart.yaml").read_text()
    text = text.replace("../schemas/manifest.schema.json", SCHEMA.as_uri())
    assert editor.faults(editor.open("quickstart.yaml", text)) == []


def test_an_editor_marks_an_unknown_key_and_a_wrong_value(editor: Editor) -> None:
    text = (
        HEAD + "targets:\n  int8: {quantize: {method: dynamic, per_chanel: true}}\n  o9: {optimize: O9}\nmodels: {}\n"
    )
    assert sorted(editor.faults(editor.open("faults.yaml", text))) == [
        'Incorrect type. Expected "OptimizeParams".',
        "Property per_chanel is not allowed.",
    ]


def test_an_editor_completes_keys_and_values(editor: Editor) -> None:
    uri = editor.open("keys.yaml", HEAD + "models:\n  minilm:\n    source: local:x\n    \n")
    assert {"task", "targets", "export", "validate", "benchmark"} <= editor.completions(uri, 5, 4)
    uri = editor.open("values.yaml", HEAD + "targets:\n  int8:\n    quantize:\n      method: \nmodels: {}\n")
    assert {"dynamic", "weight-only"} <= editor.completions(uri, 5, 14)
    uri = editor.open("short.yaml", HEAD + "targets:\n  fast:\n    optimize: \nmodels: {}\n")
    assert {"O1", "O2", "O3", "O4"} <= editor.completions(uri, 4, 14)


def test_an_editor_completes_tasks_metrics_and_sources(editor: Editor) -> None:
    uri = editor.open("task.yaml", HEAD + "models:\n  minilm:\n    task: \n    source: \n")
    assert {"feature-extraction", "text-classification", "sequence-classification"} <= editor.completions(uri, 4, 10)
    assert {"hub", "local", "onnx", "random"} <= {label.partition(":")[0] for label in editor.completions(uri, 5, 12)}
    text = HEAD + "models:\n  minilm:\n    validate:\n      thresholds:\n        \n"
    assert {"cosine_mean", "max_abs"} <= editor.completions(editor.open("metric.yaml", text), 6, 8)


def test_an_editor_explains_a_key(editor: Editor) -> None:
    text = HEAD + "targets:\n  q4:\n    steps:\n      - quantize: {method: weight-only, block_size: 64}\nmodels: {}\n"
    uri = editor.open("hover.yaml", text)
    assert "share a scale" in editor.hover(uri, 5, 45)
    assert "steps in the order" in editor.hover(uri, 4, 6)
    assert "quantize" in editor.hover(uri, 5, 10)
