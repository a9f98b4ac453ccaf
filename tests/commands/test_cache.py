"""`onnxbuild cache` and `run --remote`, as processes, on a manifest of toy steps."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest
from hostile import Hostile, head
from plugin.world import Ended, World

from onnxbuild.report.wording import size_in_words

STEPS = {"one": [{"text": "1"}], "two": [{"text": "2"}, {"text": "3"}]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path / "here")
    found.manifest(STEPS)
    return found


@pytest.fixture
def shared(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared"


def another(world: World, tmp_path: Path, name: str) -> World:
    """Another machine: the same manifest and sources under another path, with its own store."""
    found = World(tmp_path / name)
    found.manifest(STEPS)
    return found


def cache(world: World, what: str, *arguments: str) -> Ended:
    first, second, third, verb, *rest = world.command(*arguments, verb="cache")
    command = [first, second, third, verb, what, *rest]
    done = subprocess.run(
        command, cwd=world.root, env=world.environment, text=True, capture_output=True, timeout=120, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def blobs(world: World) -> list[Path]:
    return sorted((world.store / "blobs").rglob("*/*"))


def test_a_second_machine_builds_nothing_and_its_second_run_is_up_to_date(world, tmp_path, shared) -> None:
    first = world.run("--json", "--remote", shared)
    assert set(first.outcomes().values()) == {"built"}
    assert f"shared {len(first.outcomes())} results (" in first.err
    second = another(world, tmp_path, "there")
    taken = second.run("--json", "--remote", shared)
    assert set(taken.outcomes().values()) == {"hit"}, taken
    assert second.delivered() == world.delivered()
    assert taken.err == ""
    assert second.run("--remote", shared).out.splitlines()[-1] == "up to date: 4 actions, nothing to do"
    third = another(world, tmp_path, "elsewhere")
    fetched = third.run("--remote", shared).out.splitlines()
    assert "up to date: 4 actions, 4 fetched from the remote store" in fetched
    explained = third.run_arguments([*third.command()[:3], "explain", "m/one:toy", "--store", str(third.store)]).out
    assert explained.splitlines()[0] == f"m/one:toy: fetched from {shared} in its last run"
    assert "never built" not in explained


def test_plan_counts_what_the_remote_store_has_as_a_hit(world, tmp_path, shared) -> None:
    world.run("--remote", shared)
    second = another(world, tmp_path, "there")
    assert second.run(verb="plan").out.splitlines()[-1] == "4 of 4 actions would run"
    assert second.run("--remote", shared, verb="plan").out.splitlines()[-1] == "up to date: 4 actions, nothing to do"
    assert blobs(second) == []


def test_the_manifest_names_the_remote_store_and_offline_does_not_ask_it(world, tmp_path) -> None:
    text = json.loads((world.root / "manifest.yaml").read_text())
    text["store"] = {"readonly": True}
    (world.root / "manifest.yaml").write_text(json.dumps(text))
    world.run("--remote", str(tmp_path / "shared"))
    assert not (tmp_path / "shared").exists()  # `readonly` applies to every address
    with contextlib.closing(Hostile(lambda request: head(request, 404, Content_Length="0"))) as server:
        text["store"] = {"remote": f"webdav://127.0.0.1:{server.port}/shared"}
        (world.root / "manifest.yaml").write_text(json.dumps(text))
        world.run("--offline", "--force")
        assert server.seen == []
        world.run("--force")
        assert {method for method, _path, _headers in server.seen} >= {"PROPFIND", "MKCOL"}  # it would write


def test_an_unusable_remote_store_is_one_warning_and_no_receipt_hides_it(world) -> None:
    for verb in ("used", "written"):
        done = world.run("--remote", "webdav://127.0.0.1:9/store")
        assert done.code == 0
        fault = f"the remote store webdav://127.0.0.1:9/store cannot be {verb}: [Errno 111] Connection refused"
        hint = "nothing more is asked of it in this command; `--offline` does without it"
        assert done.err.endswith(f"OB045 warning: {fault}\n  = hint: {hint}\n")
        assert done.err.count("OB045") == 1


def test_a_password_in_an_address_is_written_nowhere(world) -> None:
    address = "webdav://me:hush-hush@127.0.0.1:9/store"
    world.environment["ONNXBUILD_REMOTE"] = address
    assert "hush-hush" not in repr(world.run())
    files = [path for path in world.root.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if b"hush-hush" in path.read_bytes()] == []


def test_push_then_pull(world, tmp_path, shared) -> None:
    world.run()
    pushed = cache(world, "push", "--remote", shared)
    size = sum(path.stat().st_size for path in blobs(world))
    assert (pushed.code, pushed.out) == (
        0,
        f"4 results of manifest.yaml are in {shared} ({size_in_words(size)} sent)\n",
    )
    again = cache(world, "push", "--remote", shared)
    assert again.out == f"4 results of manifest.yaml are in {shared} (0 bytes sent)\n"
    second = another(world, tmp_path, "there")
    pulled = cache(second, "pull", "--remote", shared)
    assert (pulled.code, pulled.out) == (0, f"4 results came from {shared}, 0 were local\n")
    assert [path.name for path in blobs(second)] == [path.name for path in blobs(world)]
    assert set(second.run("--json", "--offline").outcomes().values()) == {"hit"}


def test_pulled_results_are_kept_by_gc(world, tmp_path, shared) -> None:
    world.run("--remote", shared)
    second = another(world, tmp_path, "there")
    cache(second, "pull", "--remote", shared)
    assert "freed 0 bytes: 0 files of 0 results; 4 results kept" in second.run(verb="gc").out


def test_pull_says_what_is_missing(world, tmp_path, shared) -> None:
    world.run("m/one", "--remote", shared)
    second = another(world, tmp_path, "there")
    pulled = cache(second, "pull", "--remote", shared)
    assert pulled.out == f"2 results came from {shared}, 0 were local; 2 have to be built\n"


def test_push_without_a_remote_store_is_an_error(world) -> None:
    done = cache(world, "push")
    assert done.code == 2
    assert "OB047 manifest.yaml has no remote store" in done.err
    done = cache(world, "push", "--remote", "/x", "--remote-readonly")
    assert done.code == 2
    assert "OB047 the remote store /x is read-only here" in done.err


def test_push_to_a_place_that_cannot_be_written_exits_1(world, tmp_path) -> None:
    world.run()
    (tmp_path / "file").touch()
    done = cache(world, "push", "--remote", str(tmp_path / "file"))
    assert done.code == 1
    assert "OB045" in done.err


def test_stats(world) -> None:
    world.run()
    found = json.loads(cache(world, "stats", "--json").out)
    size = sum(path.stat().st_size for path in blobs(world))
    assert (found["results"], found["reached"], found["unreached"]) == (4, 4, 0)
    assert (found["files"], found["bytes"]) == (len(blobs(world)), size)
    assert found["bytes_named"] - found["bytes_deduplicated"] == size
    assert {name: kind["results"] for name, kind in found["kinds"].items()} == {"fetch": 1, "toy": 3}
    words = cache(world, "stats").out.splitlines()
    assert words[0] == "results       4 (4 needed by manifests, 0 not)"
    assert words[-1].startswith("  toy        3 results  ")


def test_stats_count_toolchains_on_a_line_of_their_own(world) -> None:
    world.run()
    before = json.loads(cache(world, "stats", "--json").out)
    assert before["toolchains"] == {"count": 0, "bytes": 0}
    assert "toolchains" not in cache(world, "stats").out
    for name, size in (("a", 1_300_000), ("b", 2_400_000)):
        place = world.store / "toolchains" / name / "lib" / "site-packages"
        place.mkdir(parents=True)
        (place / "large.so").write_bytes(bytes(size))
    assert json.loads(cache(world, "stats", "--json").out)["toolchains"] == {"count": 2, "bytes": 3_700_000}
    assert "\ntoolchains    2, 3.7 MB more; gc removes what no lock file names\n" in cache(world, "stats").out


def test_stats_of_a_store_that_is_not_there_makes_none(world) -> None:
    assert json.loads(cache(world, "stats", "--json").out)["results"] == 0
    assert not world.store.exists()


def test_verify_drops_what_is_damaged_and_says_what_will_be_built_again(world) -> None:
    world.run()
    assert cache(world, "verify").out == f"{len(blobs(world))} files, all intact\n"
    damaged = max(blobs(world), key=lambda path: path.read_bytes().endswith(b"23"))
    damaged.chmod(0o644)
    damaged.write_bytes(b"?" * damaged.stat().st_size)
    gone = max(blobs(world), key=lambda path: path.read_bytes().endswith(b"model 1"))
    gone.unlink()
    done = cache(world, "verify")
    assert done.code == 1
    lines = done.out.splitlines()
    assert f"blob {damaged.name[:16]} is damaged; will be built again: m/two:toy-2 (manifest.yaml)" in lines
    assert f"blob {gone.name[:16]} is missing; will be built again: m/one:toy (manifest.yaml)" in lines
    assert lines[-1] == "1 file damaged and removed, 1 file missing"
    assert not damaged.exists()
    again = world.run("--json").outcomes()
    assert {name for name, outcome in again.items() if outcome != "hit"} == {"m/one:toy", "m/two:toy-2"}
    assert cache(world, "verify").code == 0
