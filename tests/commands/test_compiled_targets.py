"""Targets with `compile:`, with a backend of a plugin whose compiler and device are programs that a test puts there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper
from plugin.world import World

from onnxbuild.execute.key import KeyParts
from onnxbuild.execute.sharing.compiled_elsewhere import without_compiler
from onnxbuild.steps import KINDS

GOOD = 'cp "$2" "$3"; echo compiled with "$1"'


def machine(root: Path, **programs: str) -> World:
    """A world with a target for the chip, and these programs on its PATH."""
    world = World(root)
    world.environment["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for name, text in programs.items():
        install(world, name, text)
    (root / "model/model.onnx").write_bytes(graph())
    write(world)
    return world


def graph() -> bytes:
    """A graph that returns what it is fed."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy")
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def install(world: World, name: str, text: str = "true") -> None:
    place = world.root / "bin" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)


def write(world: World, block: object = "chip", **more: object) -> None:
    model = {"source": "onnx:model", "validate": False, "benchmark": False, "targets": ["one"], **more}
    content = {"onnxbuild": 1, "targets": {"one": {"compile": block}}, "models": {"m": model}}
    (world.root / "manifest.yaml").write_text(json.dumps(content))


def record(world: World) -> dict[str, object]:
    return json.loads((world.root / "out/m/one/compiled.json").read_text())


def state(world: World) -> str:
    return json.loads(world.run("--format", "json", verb="status").out)["variants"][0]["state"]


def test_without_its_compiler_a_variant_is_prepared_and_its_checks_are_skipped(tmp_path: Path) -> None:
    world = machine(tmp_path)
    lint = world.run(verb="lint")
    assert "OB802 warning: `chipc` is not on this machine, so `m/one:compile-chip` will only be prepared" in lint.out
    done = world.run("--json")
    assert done.outcomes() == {"m:fetch": "built", "m/one:compile-chip": "built", "m/one:load": "built"}
    assert done.actions()["m/one:load"]["facts"] == {"skipped": "needs chiprun"}
    assert (record(world)["state"], record(world)["needs"]) == ("prepared", "chipc")
    out = world.root / "out/m/one"
    assert sorted(path.name for path in out.iterdir()) == [
        "compile.sh", "compiled.json", "config.json", "model.onnx", "onnxbuild.json",
    ]  # fmt: skip
    assert out.joinpath("compile.sh").read_text().splitlines()[-1] == "chipc -cores=16 model.onnx model.chip"
    assert str(tmp_path) not in out.joinpath("compiled.json").read_text()
    shown = world.run().out
    assert "prepared" in shown
    assert "skipped: needs chiprun" in shown
    assert "passed" not in shown


def test_a_plan_says_what_will_only_be_prepared_and_what_is(tmp_path: Path) -> None:
    world = machine(tmp_path)
    remark = f"{'':<9} will only be prepared: `chipc` is missing"
    first = world.run(verb="plan").out.splitlines()
    assert first[first.index("run       m/one:compile-chip") + 1] == remark
    world.run()
    again = world.run(verb="plan").out.splitlines()
    place = next(number for number, line in enumerate(again) if "m/one:compile-chip" in line)
    assert again[place + 1] == f"{'':<9} only prepared: needs chipc"
    write(world, {"backend": "chip", "cores": 3})
    assert remark in world.run(verb="plan").out.splitlines()
    install(world, "chipc", GOOD)
    assert "prepared" not in world.run(verb="plan").out


def test_it_is_compiled_as_soon_as_the_compiler_is_there_and_run_as_soon_as_the_device_is(tmp_path: Path) -> None:
    world = machine(tmp_path)
    world.run()
    install(world, "chipc", GOOD)
    done = world.run("--json").actions()
    assert {name: one["outcome"] for name, one in done.items() if one["outcome"] != "hit"} == {
        "m/one:compile-chip": "built", "m/one:load": "unchanged",
    }  # fmt: skip
    assert record(world)["state"] == "compiled"
    assert done["m/one:load"]["facts"] == {"skipped": "needs chiprun"}
    install(world, "chiprun")
    again = world.run("--json").actions()
    assert [name for name, one in again.items() if one["outcome"] != "hit"] == ["m/one:load"]
    # To load a file is not to run it.
    assert again["m/one:load"]["facts"] == {"opened": ["model.chip"], "backend": "chip"}
    assert state(world) == "compiled"
    assert "up to date" in world.run().out


def test_a_run_notices_another_path(tmp_path: Path) -> None:
    world = machine(tmp_path)
    path = os.environ["PATH"]
    assert "prepared" in world.run().out
    (world.root / "out/m/one/compile.sh").unlink()
    world.run()  # with the plan that the receipt keeps
    for folder, counts in (("first", "built 1, unchanged 1, hit 1"), ("second", "built 0, unchanged 1, hit 2")):
        install(world, "chipc", f"{GOOD}; : {folder}")
        (world.root / "bin").rename(world.root / folder)
        path = f"{world.root / folder}{os.pathsep}{path}"
        world.environment["PATH"] = path
        assert counts in world.run().out
        assert record(world)["state"] == "compiled"
        assert "up to date" in world.run().out


def test_a_run_notices_another_path_of_libraries(tmp_path: Path) -> None:
    world = machine(tmp_path, chipc=GOOD)
    world.environment.pop("LD_LIBRARY_PATH", None)
    write(world, {"backend": "chip", "library": "libchip.so"})
    world.run()
    assert record(world)["needs"] == "libchip.so"
    (world.root / "libraries").mkdir()
    (world.root / "libraries/libchip.so.2").touch()
    world.environment["LD_LIBRARY_PATH"] = "libraries"
    assert "up to date" not in world.run().out
    assert record(world)["state"] == "compiled"
    assert "up to date" in world.run().out


@pytest.mark.parametrize(
    ("compiler", "options", "code", "words"),
    [
        ("echo out of memory; kill -9 $$", (), "OBE235", "`chipc` was killed by SIGKILL"),
        ("echo bad graph >&2; exit 3", (), "OBE235", "`chipc` ended with code 3"),
        ("echo done", (), "OBE236", "`chipc` ended with code 0 and did not write `model.chip`"),
        (": > model.chip", (), "OBE236", "`chipc` ended with code 0 and did not write `model.chip`"),
        ("sleep 60", ("--timeout", "2"), "OBE62", "did not end within 2 seconds and was stopped"),
    ],
)
def test_a_compiler_that_fails_fails_the_run(
    tmp_path: Path, compiler: str, options: tuple[str, ...], code: str, words: str
) -> None:
    world = machine(tmp_path, chipc=compiler)
    done = world.run(*options)
    assert done.code == 1
    assert f"{code} m/one:compile-chip failed: {words}" in done.out, done
    assert not (world.root / "out").exists()
    assert world.wait_for_silence() == []


def test_the_output_of_a_compiler_is_in_the_message(tmp_path: Path) -> None:
    world = machine(tmp_path, chipc="echo bad graph >&2; exit 3")
    out = world.run().out
    assert "= output: bad graph" in out
    assert "= command: chipc -cores=16 model.onnx model.chip" in out


def test_another_machine_takes_what_was_compiled_and_runs_it(tmp_path: Path) -> None:
    shared = ("--remote", f"file://{tmp_path / 'shared'}")
    builder = machine(tmp_path / "builder", chipc=GOOD)
    assert builder.run(*shared).code == 0
    device = machine(tmp_path / "device", chiprun="true")
    done = device.run("--json", *shared).actions()
    assert {name: one["outcome"] for name, one in done.items()} == {
        "m:fetch": "hit", "m/one:compile-chip": "hit", "m/one:load": "built",
    }  # fmt: skip
    assert record(device)["state"] == "compiled"
    assert done["m/one:load"]["facts"] == {"opened": ["model.chip"], "backend": "chip"}
    assert state(device) == "compiled"


def test_a_machine_that_has_prepared_a_variant_takes_what_another_one_compiles_later(tmp_path: Path) -> None:
    shared = ("--remote", f"file://{tmp_path / 'shared'}")
    device = machine(tmp_path / "device", chiprun="true")
    assert device.run("--json", *shared).outcomes()["m/one:compile-chip"] == "built"
    asked = device.run("--json", *shared).actions()["m/one:compile-chip"]
    assert (asked["outcome"], asked["reasons"], asked["facts"]["state"]) == ("hit", [], "prepared")
    assert machine(tmp_path / "builder", chipc=GOOD).run(*shared).code == 0
    assert "would run" in device.run(*shared, verb="plan").out  # the check of what was compiled
    taken = device.run("--json", *shared).actions()
    assert {name: one["outcome"] for name, one in taken.items()} == {
        "m:fetch": "hit", "m/one:compile-chip": "hit", "m/one:load": "built",
    }  # fmt: skip
    assert record(device)["state"] == "compiled"
    assert "skipped" not in taken["m/one:load"]["facts"]
    # It stays: without the remote store, and where this machine is told to do again what it can do.
    assert "m/one    0.0 MB  compiled" in device.run().out
    forced = device.run("--force", "--json", "m/one").actions()["m/one:compile-chip"]
    assert (forced["outcome"], forced["facts"]["state"]) == ("unchanged", "compiled")
    assert record(device)["state"] == "compiled"


def test_cache_pull_brings_what_another_machine_has_compiled(tmp_path: Path) -> None:
    shared = ("--remote", f"file://{tmp_path / 'shared'}")
    device = machine(tmp_path / "device", chiprun="true")
    device.run(*shared)
    machine(tmp_path / "builder", chipc=GOOD).run(*shared)
    pull = (sys.executable, "-m", "onnxbuild", "cache", "pull", "manifest.yaml", "--store", str(device.store), *shared)
    assert "1 result came from" in device.run_arguments([*pull]).out
    device.run()
    assert record(device)["state"] == "compiled"


def test_on_one_disk_what_was_compiled_takes_the_place_of_what_was_prepared(tmp_path: Path) -> None:
    store = tmp_path / "store"
    device = machine(tmp_path / "device", chiprun="true")
    device.store = store
    device.run()
    assert "prepared" in device.run().out  # from its receipt
    builder = machine(tmp_path / "builder", chipc=GOOD)
    builder.store = store
    assert builder.run().code == 0
    assert "m/one    0.0 MB  compiled" in device.run().out
    assert record(device)["state"] == "compiled"


def test_a_package_has_what_was_compiled_and_its_check_waits_for_the_device(tmp_path: Path) -> None:
    world = machine(tmp_path, chipc=GOOD)
    write(world, package="compiled")
    done = world.run("--json").actions()
    assert done["m:package-compiled"]["facts"]["states"] == {"one": "compiled"}
    assert done["m:client-compiled"]["facts"] == {"client": "", "opened": [], "skipped": "needs chiprun"}
    package = world.root / "out/m/packages/compiled"
    assert sorted(path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()) == [
        "README.md", "SHA256SUMS", "one/compile.sh", "one/compiled.json", "one/config.json", "one/model.chip",
        "one/model.onnx", "onnxbuild.json",
    ]  # fmt: skip
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=package, check=True)
    assert "skipped: needs chiprun" in world.run().out
    install(world, "chiprun")
    again = world.run("--json").actions()
    ran = [name for name, one in again.items() if one["outcome"] != "hit"]
    assert ran == ["m/one:load", "m:client-compiled"]
    assert again["m:client-compiled"]["facts"] == {
        "client": "chip", "opened": ["one"], "opened_on": {"one": {"place": "device", "name": "Chip 100"}},
    }  # fmt: skip
    assert "passed: chip" in world.run().out


def test_a_variant_that_is_only_prepared_or_was_not_checked_is_never_the_best(tmp_path: Path) -> None:
    world = machine(tmp_path)
    write(world, select={"minimize": "size_mb"})
    done = world.run()
    assert done.code == 1
    assert "no variant of `m` can be the best: `one` (skipped: needs chiprun)" in str(done)
    assert not (world.root / "out/m/best").exists()
    install(world, "chiprun")
    assert "`one` (skipped: needs chipc: the variant is only prepared)" in str(world.run())
    install(world, "chipc", GOOD)
    assert "best of m: one, the smallest size_mb" in str(world.run())


def test_on_a_machine_with_the_device_only_the_checks_run_and_both_machines_report_all(tmp_path: Path) -> None:
    measured = {"iterations": 5, "rounds": 2, "warmup": 1}
    of_model = {"package": "compiled", "validate": True, "benchmark": measured, "task": "feature-extraction"}
    builder = machine(tmp_path, chipc=GOOD)
    write(builder, **of_model)
    first = builder.run("--json").actions()
    assert {name: one["facts"].get("skipped") for name, one in first.items()} == {
        "m:fetch": None, "m/one:compile-chip": None, "m/one:validate": "needs chiprun", "m:package-compiled": None,
        "m:client-compiled": "needs chiprun", "m/one:benchmark": "needs chiprun",
    }  # fmt: skip
    # The other machine has the store and the manifest on a shared disk, and other programs.
    device = machine(tmp_path)
    programs = tmp_path / "of device"
    programs.mkdir()
    (builder.root / "bin/chipc").with_name("chiprun").write_text("#!/bin/sh\n")
    (builder.root / "bin/chiprun").rename(programs / "chiprun")
    programs.joinpath("chiprun").chmod(0o755)
    device.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    write(device, **of_model)
    done = device.run(":benchmark", "--json").actions()
    assert {name: one["outcome"] for name, one in done.items()} == {
        "m:fetch": "hit", "m/one:compile-chip": "hit", "m/one:validate": "built", "m/one:benchmark": "built",
    }  # fmt: skip
    assert {name for name, one in done.items() if "executed_on" in one["facts"]} == {
        "m/one:validate",
        "m/one:benchmark",
    }
    report = json.loads(builder.run("--format", "json", verb="report").out)
    (row,), (package,) = [one["row"] for one in report["variants"]], report["built_packages"]
    assert (row["state"], row["skipped"]) == ("verified on Chip 100", None)
    assert row["speedup"] is not None
    assert (package["states"], package["needs"]) == ({"one": "compiled"}, "needs chiprun")


def test_a_package_says_what_is_only_prepared(tmp_path: Path) -> None:
    world = machine(tmp_path, chiprun="true")
    write(world, package={"compiled": {"targets": {"card": "one"}}})
    done = world.run()
    assert done.code == 0, done
    assert "skipped: needs chipc: the variant is only prepared (prepared: card)" in done.out
    assert (world.root / "out/m/packages/compiled/card/compile.sh").is_file()
    assert not (world.root / "out/m/packages/compiled/card/model.chip").exists()


def test_lint_says_which_packages_take_no_compiled_target(tmp_path: Path) -> None:
    world = machine(tmp_path, chipc=GOOD)
    write(world, package={"plain": {"targets": ["one"]}})
    out = world.run(verb="lint").out
    assert "OB762 the package `plain` has ONNX graphs, and `one` is compiled for chip" in out
    assert "use `package: compiled`" in out
    write(world, package="plain")
    assert (
        "OB762 the package `plain` has ONNX graphs, and all targets of the model are compiled"
        in world.run(verb="lint").out
    )
    write(world, {"backend": "chip"}, package={"compiled": {"targets": ["two"]}})
    assert "OB760 the package `compiled` names the target `two`" in world.run(verb="lint").out


def test_what_is_only_prepared_is_not_shared(tmp_path: Path) -> None:
    shared = ("--remote", f"file://{tmp_path / 'shared'}")
    machine(tmp_path / "bare").run(*shared)
    other = machine(tmp_path / "other")
    assert other.run("--json", *shared).outcomes()["m/one:compile-chip"] == "built"


def test_the_params_of_a_backend_are_in_the_key_and_checked(tmp_path: Path) -> None:
    world = machine(tmp_path, chipc=GOOD)
    world.run()
    write(world, {"backend": "chip", "cores": 8})
    done = world.run("--json").actions()["m/one:compile-chip"]
    assert [reason["part"] for reason in done["reasons"]] == ["params.cores"]
    assert record(world)["compiler"] == {
        "name": "chipc", "version": "1", "command": ["chipc", "-cores=8", "model.onnx", "model.chip"],
    }  # fmt: skip
    write(world, {"backend": "chip", "core": 8})
    assert "OB001 unknown key `core`" in world.run(verb="lint").out
    write(world, {"backend": "chop"})
    assert "did you mean `chip`?" in world.run(verb="lint").out
    write(world, {"cores": 8})
    assert "OB012 missing key `backend`" in world.run(verb="lint").out


def test_the_script_does_what_the_compiler_would_have_done(tmp_path: Path) -> None:
    world = machine(tmp_path)
    world.run()
    install(world, "chipc", GOOD)
    script = world.root / "out/m/one/compile.sh"
    done = subprocess.run(["sh", script], env=world.environment, capture_output=True, text=True, check=True)
    assert done.stdout == "compiled with -cores=16\n"


def test_a_machine_without_the_compiler_takes_what_the_newest_compiler_made(tmp_path: Path) -> None:
    shared = ("--remote", f"file://{tmp_path / 'shared'}")
    builder = machine(tmp_path / "builder", chipc=GOOD)
    builder.run(*shared)
    program = builder.root / "bin/chipc"
    program.rename(tmp_path / "older")
    install(builder, "chipc", f'{GOOD}; echo 2 >> "$3"')
    builder.run(*shared)
    newest = record(builder)["files"]
    device = machine(tmp_path / "device", chiprun="true")
    assert device.run("--json", *shared).outcomes()["m/one:compile-chip"] == "hit"
    assert record(device)["files"] == newest
    (tmp_path / "older").rename(program)  # its result is in the store: nothing is compiled
    assert builder.run("--json", *shared).outcomes()["m/one:compile-chip"] == "hit"
    assert record(builder)["files"] != newest
    other = machine(tmp_path / "other", chiprun="true")
    other.run(*shared)
    assert record(other)["files"] == record(builder)["files"]


def test_a_compiled_result_is_recorded_for_machines_that_lack_any_part_of_the_compiler() -> None:
    parts = KeyParts(
        kind="compile-openvino", version=1, params={"weights": "int8"}, inputs={}, toolchain={},
        packages={"openvino": "2026.4", "nncf": "3", "onnx": "1.22"},
    )  # fmt: skip
    found = [dict(one.packages) for one in without_compiler(parts, KINDS)]
    assert found == [
        {"openvino": "absent", "nncf": "absent", "onnx": "1.22"},
        {"openvino": "absent", "nncf": "3", "onnx": "1.22"},
        {"openvino": "2026.4", "nncf": "absent", "onnx": "1.22"},
    ]


def test_a_compiler_that_writes_files_of_ours_does_not_spoil_the_record(tmp_path: Path) -> None:
    world = machine(tmp_path, chipc=f"{GOOD}; echo junk | tee compiled.json > onnxbuild.json", chiprun="true")
    assert world.run().code == 0
    assert set(record(world)["files"]) == {"compile.sh", "model.chip", "model.onnx"}
