"""Somebody else's code in a worker: what it reaches for is refused, and the build says so; good code works."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from plugin.world import Ended, World

from onnxbuild.confinement import landlock, seccomp
from onnxbuild.confinement.confine import wanted

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="the system has no Landlock")

NETWORK = "the network or another process"


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "project").mkdir()
    world = World(tmp_path / "project")
    (tmp_path / "secret").write_text("the key of the user")
    world.environment["SECRET"] = "not for workers"
    return world


def build(world: World, code: str, *, kind: str = "stranger", **environment: str) -> Ended:
    world.environment |= environment
    world.manifest({"a": [{"code": code, "text": "done"}]}, kind=kind)
    return world.run("--json")


def failure(ended: Ended, kind: str = "stranger") -> tuple[str, str]:
    assert ended.code == 1, ended
    found = ended.actions()[f"m/a:{kind}"]["failure"]
    return found["code"], found["message"]


def facts(ended: Ended, kind: str = "stranger") -> dict:
    assert ended.code == 0, ended
    return ended.actions()[f"m/a:{kind}"]["facts"]


READING = [
    "open({path!r}).read()",
    "import os; os.listdir(os.path.dirname({path!r}))",
    "import os; os.link({path!r}, outputs['model'] / 'stolen')",
    "import subprocess; subprocess.run(['cat', {path!r}], check=True, stderr=subprocess.PIPE)",
]


@pytest.mark.parametrize("code", READING[:3])
def test_a_file_that_is_no_input_cannot_be_read(world: World, tmp_path: Path, code: str) -> None:
    path = str(tmp_path / "secret")
    code_, message = failure(build(world, code.format(path=path)))
    assert code_ == "OBE73"
    assert message.startswith("confined code reached for ")
    assert world.delivered() == {}


def test_a_program_that_it_starts_is_confined_too(world: World, tmp_path: Path) -> None:
    code = READING[3].format(path=str(tmp_path / "secret"))
    code_, message = failure(build(world, code))
    assert code_ == "OBE99"
    assert "cat" in message


def test_a_link_to_a_secret_cannot_be_left_in_an_output(world: World, tmp_path: Path) -> None:
    """The store follows links, and is not confined."""
    code = f"import os; os.symlink({str(tmp_path / 'secret')!r}, outputs['model'] / 'link')"
    assert failure(build(world, code))[0] == "OBE73"


@pytest.mark.parametrize("place", ["victim", "project/manifest.yaml", "project/.onnxbuild/store/victim"])
def test_nothing_outside_its_outputs_can_be_written(world: World, tmp_path: Path, place: str) -> None:
    code = f"open({str(tmp_path / place)!r}, 'a').write('harm')"
    assert failure(build(world, code)) == ("OBE73", f"confined code reached for {tmp_path / place}")
    assert not (tmp_path / "victim").exists()
    assert "harm" not in (world.root / "manifest.yaml").read_text().partition("}")[2]


def test_its_inputs_cannot_be_changed(world: World) -> None:
    code = "path = inputs['model'] / 'model.onnx'\npath.unlink()"
    assert failure(build(world, code))[0] == "OBE73"
    assert world.damaged_blobs() == []


CONNECTIONS = {
    "tcp": "socket.create_connection(('127.0.0.1', {port}))",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
    "unix": "socket.socket(socket.AF_UNIX).connect({unix!r})",
    "bind": "socket.socket().bind(('127.0.0.1', 0))",
    "urllib": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/')",
}


@pytest.mark.skipif(not seccomp.is_available(), reason="the system has no seccomp")
@pytest.mark.parametrize("name", CONNECTIONS)
def test_nobody_can_be_contacted(world: World, tmp_path: Path, name: str) -> None:
    unix = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(unix)
        local.listen()
        code = "import socket\n" + CONNECTIONS[name].format(port=server.getsockname()[1], unix=unix)
        assert failure(build(world, code)) == ("OBE73", f"confined code reached for {NETWORK}")
        for listener in (server, local):
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_a_plugin_that_declares_the_network_has_it_and_no_files(world: World, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port})).close()\nopen('/etc/hosts').read()"
        found = facts(build(world, code, kind="courier"), "courier")
    assert found["confined_by"] == f"Landlock {landlock.abi()}, with the network"
    reading = f"open({str(tmp_path / 'secret')!r})"
    assert failure(build(world, reading, kind="courier"), "courier")[0] == "OBE73"


@pytest.mark.parametrize(("word", "meant"), [("", "auto"), ("auto", "auto"), ("OFF", "off"), ("require", "require"),
                                             ("requier", "require"), ("1", "require")])  # fmt: skip
def test_a_word_that_is_unknown_is_taken_for_the_safe_one(word: str, meant: str) -> None:
    assert wanted({"ONNXBUILD_CONFINE": word}) == meant
    assert wanted({}) == "auto"


@pytest.mark.skipif(landlock.abi() < 6, reason="this Landlock does not confine signals")
def test_it_cannot_kill_the_command(world: World) -> None:
    code = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    assert failure(build(world, code)) == ("OBE73", f"confined code reached for {NETWORK}")


def test_it_cannot_read_the_environment_of_the_command(world: World) -> None:
    assert failure(build(world, "import os; open(f'/proc/{os.getppid()}/environ').read()"))[0] == "OBE73"


def test_good_code_works_and_its_facts_say_what_confined_it(world: World) -> None:
    code = """
import multiprocessing, os, subprocess, sys, tempfile, threading
with tempfile.TemporaryDirectory() as folder:
    open(os.path.join(folder, "x"), "w").write("x")
    os.symlink(folder, os.path.join(folder, "link"))
open(os.path.expanduser("~/cache"), "w").write("x")
import json.tool
got["text"] = subprocess.run([sys.executable, "-I", "-c", "print(7)"], capture_output=True, text=True).stdout
got["map"] = multiprocessing.get_context("fork").Pool(1).map(len, ["abc"])
print("into the log")
"""
    ended = build(world, code)
    found = facts(ended)
    assert found["got"] == {"text": "7\n", "map": [3]}
    assert found["confined_by"].startswith(f"Landlock {landlock.abi()}")
    assert world.delivered() == {"a": b"model " * 2000 + b"done"}
    assert "into the log" in (world.root / ".onnxbuild" / "logs" / "m+a+stranger.txt").read_text()


def test_inputs_from_outside_the_store_can_be_read(world: World) -> None:
    """An input from outside is a folder of links to the files that the manifest names."""
    from onnxbuild.confinement.places import link_targets

    (world.root / "inputs").mkdir()
    (world.root / "inputs" / "link").symlink_to(world.root / "model" / "model.onnx")
    assert list(link_targets(str(world.root / "inputs"))) == [str(world.root / "model" / "model.onnx")]


def test_the_user_can_switch_it_off_and_the_facts_say_so(world: World, tmp_path: Path) -> None:
    code = f"got['secret'] = open({str(tmp_path / 'secret')!r}).read()"
    found = facts(build(world, code, ONNXBUILD_CONFINE="off"))
    assert found["got"] == {"secret": "the key of the user"}
    assert found["confined_by"] == ""


def test_a_manifest_cannot_switch_it_off(world: World, tmp_path: Path) -> None:
    """The variable is read before any code of the action runs."""
    code = f"import os; os.environ['ONNXBUILD_CONFINE'] = 'off'; open({str(tmp_path / 'secret')!r})"
    assert failure(build(world, code))[0] == "OBE73"


@pytest.mark.parametrize("kind", ["friend", "messenger"])
def test_code_that_declares_itself_pure_is_not_confined(world: World, tmp_path: Path, kind: str) -> None:
    code = f"got['secret'] = open({str(tmp_path / 'secret')!r}).read()"
    found = facts(build(world, code, kind=kind), kind)
    assert found["got"] == {"secret": "the key of the user"}
    assert "confined_by" not in found


ESCAPE = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sh", ["sh", "-c", "while sleep 0.01; do echo x >> $0; done", str(outputs["model"] / "x")], {})
    os._exit(0)
while not (outputs["model"] / "x").exists():
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", None),
        ("os.kill(os.getpid(), signal.SIGKILL)", "OBE05"),
        ("os._exit(7)", "OBE61"),
        ("time.sleep(60)", "OBE62"),
        ("raise ValueError", "OBE99"),
    ],
)
def test_what_it_leaves_running_ends_with_it(world: World, ending: str, code: str | None) -> None:
    """A process that has left the session and emptied its environment has no mark by which it could be found."""
    world.manifest({"a": [{"code": ESCAPE + ending, "text": "done"}]}, kind="stranger", timeout=5)
    ended = world.run("--json")
    found = ended.actions()["m/a:stranger"]["failure"]
    assert (found and found["code"]) == code
    assert world.damaged_blobs() == []
    assert [line for line in command_lines() if str(world.root) in line] == []


def command_lines() -> list[str]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found.append(Path("/proc", name, "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def test_a_system_that_cannot_confine_is_refused_where_the_user_requires_it(monkeypatch, tmp_path: Path) -> None:
    from onnxbuild.protocol import Request
    from onnxbuild.workers.confined import Confinement

    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    request = Request(id="a", worker="", params={}, inputs={}, outputs={}, log=str(tmp_path / "log"), confined=True)
    assert Confinement(request).failure is None
    monkeypatch.setenv("ONNXBUILD_CONFINE", "require")
    refused = Confinement(request).failure
    assert refused is not None
    assert refused.code == "OBE75"
