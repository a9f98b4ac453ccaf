"""The whole way on a real S3 server: real runs of the command on two machines, one of which builds nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin.world import World
from servers import PASSWORD, USER, Server

pytestmark = pytest.mark.heavy

STEPS = {"one": [{"text": "1"}], "two": [{"text": "2"}, {"text": "3"}]}


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Server]:
    server = Server("s3", tmp_path / "s3")
    (server.folder / "bucket").mkdir(parents=True)
    yield server.start()
    server.kill()


def machine(tmp_path: Path, name: str, server: Server) -> World:
    world = World(tmp_path / name)
    world.manifest(STEPS)
    world.environment |= {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.port}", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "ONNXBUILD_REMOTE": "s3://bucket/onnxbuild",
    }  # fmt: skip
    return world


def test_two_machines_and_a_bucket(tmp_path, s3) -> None:
    first, second = machine(tmp_path, "one", s3), machine(tmp_path, "two", s3)
    built = first.run("--json")
    assert set(built.outcomes().values()) == {"built"}
    assert built.err.endswith("with s3://bucket/onnxbuild\n")
    taken = second.run("--json")
    assert set(taken.outcomes().values()) == {"hit"}, taken
    assert taken.err == ""
    assert second.delivered() == first.delivered()
    assert "up to date" in second.run().out


def test_two_machines_whose_manifest_names_the_bucket_and_a_key(tmp_path, s3) -> None:
    first, second = machine(tmp_path, "one", s3), machine(tmp_path, "two", s3)
    made = [sys.executable, "-m", "onnxbuild", "cache", "keygen", "--output", "ci.key"]
    done = subprocess.run(made, cwd=first.root, env=first.environment, text=True, capture_output=True, check=True)
    first.environment["ONNXBUILD_SIGN_KEY"] = "ci.key"
    for world in (first, second):
        del world.environment["ONNXBUILD_REMOTE"]
        path = world.root / "manifest.yaml"
        store = {"remote": "s3://bucket/onnxbuild", "trust": [done.stdout.strip()]}
        path.write_text(json.dumps({**json.loads(path.read_text()), "store": store}))
    assert set(first.run("--json").outcomes().values()) == {"built"}
    assert set(second.run("--json", "-n").outcomes().values()) == {"run"}  # which asks no store of a manifest
    taken = second.run("--json")
    assert set(taken.outcomes().values()) == {"hit"}, taken
    assert taken.err == ""


def test_a_wrong_secret_is_shown_nowhere_and_costs_a_local_build(tmp_path, s3) -> None:
    world = machine(tmp_path, "one", s3)
    world.environment["AWS_SECRET_ACCESS_KEY"] = "not-" + PASSWORD
    done = world.run()
    assert done.code == 0
    assert "OB045 warning: the remote store s3://bucket/onnxbuild cannot be used: access denied (" in done.err
    assert PASSWORD not in done.out + done.err
    logs = world.root / ".onnxbuild"
    assert not [path for path in logs.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_what_needs_no_remote_store_imports_none(tmp_path, s3) -> None:
    world = machine(tmp_path, "one", s3)
    world.run()
    s3.kill()
    script = "import sys; from onnxbuild.cli import run_command; code = run_command(sys.argv[1:])"
    script += "; sys.exit(code or 'fsspec' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "manifest.yaml", "--store", str(world.store)], cwd=world.root,
        env=world.environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert "up to date: 4 actions" in done.stdout
    assert "OB045" not in done.stderr
