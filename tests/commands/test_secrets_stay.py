"""A password in the environment, in an address and on the command line is found in no output and in no kept file."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from plugin.world import Ended, World

# Each stands in another place; none has a character that makes two of its forms equal.
IN_ENV = "kanarie/ëen & één"
IN_QUERY = "kanarie+twee=twee"
IN_FRAGMENT = "kanarie~drie~drie"
DEFINED = "kanarie:vier:vier"
TOKEN = "hf_kanarievijfkanarievijf"
ALL = (IN_ENV, IN_QUERY, IN_FRAGMENT, DEFINED, TOKEN)
READABLE = ("plan", "status", "graph", "lint", "explain", "logs")


def forms(secret: str) -> Iterator[str]:
    yield from (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], json.dumps(secret[:9])[1:-1])
    yield base64.b64encode(f"user:{secret}".encode()).decode()[9:-4]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.environment |= {
        "REMOTE_PASSWORD": quote(IN_ENV, safe=""), "HF_TOKEN": TOKEN, "NO_COLOR": "1", "TMPDIR": str(tmp_path / "tmp"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }  # fmt: skip
    (tmp_path / "config" / "onnxbuild").mkdir(parents=True)
    (tmp_path / "config" / "onnxbuild" / "config.toml").write_text('allow_env = ["REMOTE_PASSWORD"]\n')
    (tmp_path / "tmp").mkdir()
    made.manifest(
        {
            "good": [{"do": "leak", "text": IN_ENV[::-1]}],
            "bad": [{"do": "leak", "text": IN_ENV[::-1], "number": 1}],
            "token": [{"do": "leak", "text": TOKEN[::-1]}],
        }
    )
    manifest = json.loads((made.root / "manifest.yaml").read_text())
    # Nobody listens there: the run reports the address, and builds locally.
    address = (
        f"webdav://user:${{env.REMOTE_PASSWORD}}@127.0.0.1:1/p?k={quote(IN_QUERY, safe='')}#{quote(IN_FRAGMENT)}"
        "${vars.end}"
    )
    manifest |= {"vars": {"end": "", "api_token": ""}, "store": {"remote": address}}
    (made.root / "manifest.yaml").write_text(json.dumps(manifest))
    return made


def command(world: World, *arguments: str) -> Ended:
    line = [sys.executable, "-m", "onnxbuild", *arguments, *DEFINES]
    done = subprocess.run(
        line, cwd=world.root, env=world.environment, text=True, capture_output=True, check=False, timeout=120
    )
    return Ended(done.returncode, done.stdout, done.stderr)


DEFINES = ("-D", f"api_token={DEFINED}", "-D", f"end={quote(DEFINED)}")


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def found(place: str, text: str) -> list[str]:
    return [f"{place}: {form}" for secret in ALL for form in forms(secret) if form in text]


def in_files(folder: Path) -> list[str]:
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.yaml"]
    assert len(kept) > 10
    return [hit for path in kept for hit in found(str(path), path.read_bytes().decode("utf-8", "replace"))]


def test_no_secret_is_printed_or_kept(world: World) -> None:
    outputs = {
        "run": world.run(*DEFINES), "again": world.run("--json", *DEFINES),
        "forced": world.run("-v", "--force", *DEFINES),
        "profile": world.run("--force", "--profile", "profile.json", *DEFINES),
        "noop": world.run(*DEFINES, "m/good", "--offline"), "answered": world.run(*DEFINES, "m/good", "--offline"),
    }  # fmt: skip
    assert outputs["run"].code == 1, outputs["run"]
    assert "***" in outputs["run"].out
    assert "up to date" in outputs["answered"].out
    assert any((world.root / ".onnxbuild" / "receipts").iterdir())
    for verb in ("plan", "status", "graph", "lint"):
        outputs[verb] = command(world, verb, "manifest.yaml")
        assert outputs[verb].code in {0, 1}, outputs[verb]
    for verb in ("explain", "logs"):
        outputs[verb] = command(world, verb, "m/bad:toy", "-m", "manifest.yaml")
        assert outputs[verb].code == 0, outputs[verb]
    for format_ in ("svg", "dot", "json"):
        outputs[format_] = command(world, "graph", "manifest.yaml", "--output", f"graph.{format_}")
    outputs["push"] = command(world, "cache", "push", "manifest.yaml")
    assert "***" in outputs["logs"].out
    printed = [hit for name, ended in outputs.items() for hit in found(name, ended.out + ended.err)]
    assert printed == []
    assert in_files(world.root) == []


def test_a_lock_names_its_holder_without_secrets(world: World) -> None:
    manifest = json.loads((world.root / "manifest.yaml").read_text())
    manifest["targets"] = {"slow": {"steps": [{"toy": {"do": "hang", "seconds": 60.0}}]}}
    manifest["models"]["m"]["targets"] = ["slow"]
    (world.root / "manifest.yaml").write_text(json.dumps(manifest))
    process = world.start(*DEFINES, "--json", "--remote", f"webdav://user:{quote(IN_ENV, safe='')}@127.0.0.1:1/p")
    try:
        wait_for(lambda: any((world.store / "work").glob("*/*/outputs/model")))
        texts = [path.read_text() for path in (world.store / "locks").iterdir() if path.is_file()]
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert any("-D api_token=…" in text for text in texts), texts
    assert [hit for text in texts for hit in found("lock", text)] == []


def test_an_internal_error_is_reported_without_secrets(world: World) -> None:
    code = (
        "import sys; sys.argv = ['onnxbuild', *sys.argv[1:]]\n"
        "import onnxbuild.commands.plan as plan\n"
        "def broken(asked, **_): raise KeyError(str(asked))\n"
        "plan.show_plan = broken\n"
        "from onnxbuild.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", "manifest.yaml", *DEFINES], cwd=world.root, env=world.environment,
        text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done
    assert "internal error: KeyError" in done.stderr
    (log,) = Path(world.environment["TMPDIR"]).glob("onnxbuild-*.log")
    assert "KeyError" in log.read_text()
    assert os.stat(log).st_mode & 0o077 == 0
    assert found("stderr", done.stderr) + found("log", log.read_text()) == []
