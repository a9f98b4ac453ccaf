"""Crashes: whatever is killed, full, broken or read-only, nothing partial is visible, and the next run continues."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from plugin.world import World
from trust.killing import build_killed, expected, nothing_is_partial

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")

CHAINS, THOROUGH = 12, 32  # this many builds, each killed seven times before it ends: 84 kills, or 224


@pytest.mark.heavy
def test_dozens_of_kills(tmp_path: Path, amount: Callable) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = range(amount(CHAINS, THOROUGH))
        list(pool.map(lambda number: build_killed(tmp_path / str(number), number), numbers))


def test_a_few_kills(tmp_path: Path) -> None:
    build_killed(tmp_path, 7)


# -- disks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", place]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


LARGE = 2_500_000
FULL = "OBE52 the disk is full"


def test_a_full_store_is_a_failed_action_and_no_more(tmp_path: Path, small_disk: Path) -> None:
    world = World(tmp_path / "world", store=small_disk / "store")
    steps = {"a": [{"text": "a"}], "big": [{"do": "fill", "number": LARGE, "text": "b"}],
             "bigger": [{"do": "fill", "number": 2 * LARGE, "text": "c"}]}  # fmt: skip
    world.manifest(steps)
    ended = world.run("--json", "-j", "1")
    assert ended.code == 1, ended
    assert ended.outcomes() == {"m:fetch": "built", "m/a:toy": "built", "m/big:toy": "built", "m/bigger:toy": "failed"}
    failure = ended.actions()["m/bigger:toy"]["failure"]
    assert f"{failure['code']} {failure['message']}" == FULL
    assert "Traceback" not in ended.err
    nothing_is_partial(world)
    assert world.left_behind() == []
    steps["bigger"][0]["number"] = 1000
    world.manifest(steps)
    assert world.run("--json").outcomes() == {
        "m:fetch": "hit", "m/a:toy": "hit", "m/big:toy": "hit", "m/bigger:toy": "built",
    }  # fmt: skip


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, small_disk: Path) -> None:
    world = World(tmp_path / "world", store=small_disk / "store")
    world.manifest({"a": [{"text": "a"}]})
    assert world.run().code == 0
    fill(small_disk)
    world.manifest({"a": [{"text": "new"}]})
    for verb in ("plan", "graph"):
        ended = world.run(verb=verb)
        assert ended.code == 0, ended
    ended = world.run()
    assert ended.code == 2, ended
    assert ended.err == (
        f"OB040 the store {small_disk / 'store'} cannot be used: the disk is full\n"
        "  = hint: name another with `--store DIR` or ONNXBUILD_STORE\n"
    )
    nothing_is_partial(world)
    (small_disk / "filler").unlink()
    assert world.run("--json").outcomes() == {"m:fetch": "hit", "m/a:toy": "built"}
    assert world.left_behind() == []


def fill(disk: Path) -> None:
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 1024)
        except OSError:
            pass


def test_full_outputs_leave_the_last_good_ones(tmp_path: Path, small_disk: Path) -> None:
    world = World(tmp_path / "world")
    out = small_disk / "out"
    world.manifest({"a": [{"do": "fill", "number": 1_000_000, "text": "old"}]})
    assert world.run("--out", str(out)).code == 0
    world.manifest({"a": [{"do": "fill", "number": 5_000_000, "text": "new"}]})
    ended = world.run("--out", str(out))
    assert ended.code == 1, ended
    assert "Traceback" not in ended.err
    folder = out / "m" / "a"
    assert f"{folder}/ could not be written: No space left on device" in ended.err
    assert (folder / "model.onnx").read_bytes() == b"model " * 2000 + b"old"
    assert sorted(path.name for path in (out / "m").iterdir()) == ["a"]
    assert set(world.run("--out", str(tmp_path / "elsewhere"), "--json").outcomes().values()) == {"hit"}


def test_an_error_on_write(tmp_path: Path) -> None:
    """No file may grow past a limit: the kernel answers EFBIG in the middle of a write."""
    world = World(tmp_path)
    world.manifest({"a": [{"text": "a"}], "big": [{"do": "fill", "number": 3_000_000}]})

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    process = world.start("--json", preexec_fn=limited)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, (out, err)
    assert "Traceback" not in err
    assert world.delivered() == {"a": b"model " * 2000 + b"a"}
    nothing_is_partial(world)
    assert world.left_behind() == []
    assert world.run("--json").outcomes() == {"m:fetch": "hit", "m/a:toy": "hit", "m/big:toy": "built"}


@pytest.mark.parametrize("limit", [12, 16, 20, 24, 32])
def test_few_file_descriptors(tmp_path: Path, limit: int) -> None:
    world = World(tmp_path)
    steps = {f"t{number}": [{"text": str(number), "seconds": 0.2}] for number in range(6)}
    world.manifest(steps)
    process = world.start(
        "--json", "-j", "6", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode in {0, 1, 2}, (out, err)
    assert "Traceback" not in err
    assert "BUG" not in out + err
    assert world.wait_for_silence() == []
    nothing_is_partial(world)
    assert world.run("--json", "-j", "6").code == 0
    assert world.delivered() == expected(steps)
    assert world.left_behind() == []


def test_a_store_on_a_read_only_file_system(tmp_path: Path, small_disk: Path) -> None:
    world = World(tmp_path / "world", store=small_disk / "store")
    world.manifest({"a": [{"text": "a"}]})
    assert world.run().code == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    (world.root / "out" / "m" / "a" / "model.onnx").unlink()  # so that no receipt answers
    assert world.run(verb="plan").out == "hit       m:fetch\nhit       m/a:toy\nup to date: 2 actions, nothing to do\n"
    world.manifest({"a": [{"text": "b"}]})
    planned = world.run(verb="plan")
    assert planned.code == 0
    assert "run       m/a:toy" in planned.out
    assert world.run(verb="graph").code == 0
    explained = world.start(verb="explain", name="m/a:toy")
    out, err = explained.communicate()
    assert explained.returncode == 0, (out, err)
    ended = world.run()
    assert ended.code == 2, ended
    assert ended.err == (
        f"OB040 the store {small_disk / 'store'} cannot be used: Read-only file system\n"
        "  = hint: name another with `--store DIR` or ONNXBUILD_STORE\n"
    )


def test_a_new_store_on_a_read_only_file_system(tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    world = World(tmp_path / "world", store=small_disk / "store")
    world.manifest({"a": [{"text": "a"}]})
    assert world.run(verb="plan").code == 0
    ended = world.run()
    assert ended.code == 2
    place = small_disk / "store"
    assert ended.err == (
        f"OB040 the store {place} cannot be used: Read-only file system\n"
        "  = hint: name another with `--store DIR` or ONNXBUILD_STORE\n"
    )  # fmt: skip


def test_a_manifest_on_a_read_only_file_system(tmp_path: Path, small_disk: Path) -> None:
    """The store and the outputs are elsewhere, and logs go to the store."""
    world = World(small_disk, store=tmp_path / "store")
    world.manifest({"a": [{"text": "a"}]})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ended = world.run("--json", "--out", str(tmp_path / "out"))
    assert ended.code == 0, ended
    assert (tmp_path / "out" / "m" / "a").is_dir()
    assert (tmp_path / "store" / "logs").is_dir()
