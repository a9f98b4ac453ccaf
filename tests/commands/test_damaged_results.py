"""Results that are not what was built any more: each command that describes them says so, and exits with 1."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from plugin.world import World

STEPS = {"one": [{"text": "1"}], "two": [{"text": "22"}]}
HINT = (
    "  = hint: `onnxbuild cache verify manifest.yaml` removes what is damaged, and `onnxbuild run manifest.yaml` makes "
    "it again\n"
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.manifest(STEPS)
    assert made.run().code == 0
    return made


def blob_of(world: World, target: str) -> Path:
    described = json.loads((world.root / "out" / "m" / target / "onnxbuild.json").read_text())
    (blob,) = world.store.rglob(described["files"]["model.onnx"]["blake3"])
    return blob


def flip(path: Path) -> None:
    """Change one bit: the size stays."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("card", ["--no-plots"]),
        ("report", ["--format", "markdown"]),
        ("report", ["--compare", "manifest.yaml", "manifest.yaml"]),
    ],
)
def test_a_damaged_blob_is_named_and_the_hint_makes_it_whole(world: World, verb: str, arguments: list[str]) -> None:
    flip(blob_of(world, "two"))
    done = world.run(*arguments, verb=verb)
    assert (done.code, done.out, done.err) == (1, "", f"OB711 `model.onnx` of `m/two` is damaged in the store\n{HINT}")
    if "--compare" not in arguments:  # of whole builds
        assert world.run("m/one", *arguments, verb=verb).code == 0
    verify = ["cache", "verify", "manifest.yaml", "--store", str(world.store)]
    assert world.run_arguments([*world.command()[:3], *verify]).code == 1
    assert world.run().code == 0
    assert world.run(*arguments, verb=verb).code == 0


def test_a_card_reads_what_a_disk_has_changed_without_a_trace(world: World) -> None:
    blob = blob_of(world, "one")
    before = blob.stat()
    flip(blob)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = world.run("--no-plots", verb="card")
    assert (done.code, "OB711 `model.onnx` of `m/one` is damaged" in done.err) == (1, True)


def test_a_delivered_graph_that_was_changed_is_not_viewed(world: World) -> None:
    graph = world.root / "out" / "m" / "two" / "model.onnx"
    flip(graph)
    done = world.run("m/two", "--no-browser", verb="view")
    assert done.code == 1
    assert done.err.startswith("OB711 `out/m/two/model.onnx` is not what was delivered: it was changed or damaged\n")
    assert "`onnxbuild run manifest.yaml` delivers it again" in done.err
    assert world.run().code == 0
    assert graph.read_bytes() == blob_of(world, "two").read_bytes()
