"""The benchmarks: each one makes its worlds, measures side by side, and yields values with their bounds."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import worlds
from measure import Command, cpu, interleaved, peak, run_once, wall
from table import Line


@dataclass(frozen=True)
class Bench:
    """The arguments of a benchmark: the interpreter of onnxbuild, the programs of the peers, an empty folder, sizes."""

    python: str
    peers: Path
    folder: Path
    repeats: int
    large_bytes: int = 10 * 10**9
    scale: float = 1.0  # below 1 the worlds have fewer actions, for a quick look

    def actions(self, number: int) -> int:
        """The number of actions at this scale, rounded to whole chains."""
        return max(1, round(number * self.scale / worlds.STEPS)) * worlds.STEPS

    def world(self, name: str, make: Callable[[Path], None]) -> Path:
        """Make a new world in an empty folder."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        make(place)
        return place

    def built(self, name: str, actions: int) -> Path:
        """A world of toy actions in which everything is up to date."""
        place = self.world(name, lambda world: worlds.make_onnxbuild(world, actions))
        run_once(worlds.onnxbuild(self.python, place))
        run_once(worlds.onnxbuild(self.python, place))
        return place

    def dvc(self, name: str, actions: int) -> Command:
        """`dvc repro` in a world in which everything is up to date."""
        dvc = str(self.peers / "dvc")
        place = self.world(name, lambda world: worlds.make_dvc(world, actions, dvc))
        command = Command([dvc, "repro"], place)
        ran = re.findall(r"^Running stage", run_once(command).output, re.MULTILINE)
        assert not ran, f"DVC does not accept the prepared state as up to date: it ran {len(ran)} stages"
        return command

    def doit(self, name: str, actions: int) -> Command:
        """`doit` in such a world."""
        place = self.world(name, lambda world: worlds.make_doit(world, actions))
        command = Command([str(self.peers / "doit")], place)
        run_once(command)
        return command

    def ninja(self, name: str, actions: int) -> Command:
        """`ninja` in such a world."""
        place = self.world(name, lambda world: worlds.make_ninja(world, actions))
        command = Command([str(self.peers / "ninja")], place)
        run_once(command)
        return command

    def nothing(self) -> Command:
        """The minimal Python command, as a baseline."""
        return Command([self.python, "-c", "pass"], self.folder)


Benchmark = Callable[[Bench], Iterator[Line]]


def noop_12(bench: Bench) -> Iterator[Line]:
    """A run with nothing to do, 12 actions."""
    name = "no-op, 12 actions"
    samples = interleaved(
        {
            "onnxbuild": worlds.onnxbuild(bench.python, bench.built("small", 12)),
            "python": bench.nothing(),
            "dvc": bench.dvc("small-dvc", 12),
            "doit": bench.doit("small-doit", 12),
            "ninja": bench.ninja("small-ninja", 12),
        },
        max(bench.repeats, 7),
    )
    ours = cpu(samples["onnxbuild"])
    yield Line(
        name, "CPU", ours, "s", 5 * cpu(samples["python"]), f"5 × `python -c pass` ({cpu(samples['python']):.4f} s)"
    )
    yield Line(name, "CPU", ours, "s", cpu(samples["dvc"]) / 5, f"1/5 of DVC ({cpu(samples['dvc']):.3f} s)")
    yield Line(name, "wall", wall(samples["onnxbuild"]), "s")
    yield Line(name, "peak memory", peak(samples["onnxbuild"]) / 1e6, "MB")
    for peer in ("dvc", "doit", "ninja"):
        yield Line(name, f"CPU of {peer}", cpu(samples[peer]), "s")


def noop_1000(bench: Bench) -> Iterator[Line]:
    """A run with nothing to do, 1,000 actions, and whether a change runs the same steps as ninja."""
    actions = bench.actions(1000)
    name = f"no-op, {actions:,} actions"
    world = bench.built("thousand", actions)
    dvc = bench.dvc("thousand-dvc", actions)
    ninja = bench.ninja("thousand-ninja", actions)
    commands = {
        "onnxbuild": worlds.onnxbuild(bench.python, world),
        "doit": bench.doit("thousand-doit", actions),
        "ninja": ninja,
    }
    samples = dict(interleaved(commands, max(bench.repeats, 5)))
    samples |= interleaved({"onnxbuild again": commands["onnxbuild"], "dvc": dvc}, 2)
    ours = cpu(samples["onnxbuild"])
    yield Line(name, "CPU", ours, "s", cpu(samples["doit"]), f"doit ({cpu(samples['doit']):.3f} s)")
    yield Line(name, "CPU", ours, "s", cpu(samples["dvc"]) / 50, f"1/50 of DVC ({cpu(samples['dvc']):.2f} s)")
    yield Line(name, "wall", wall(samples["onnxbuild"]), "s")
    yield Line(name, "peak memory", peak(samples["onnxbuild"]) / 1e6, "MB")
    yield Line(name, "CPU of ninja", cpu(samples["ninja"]), "s")
    yield from _same_as_ninja(bench, name, world, ninja, actions)


def _same_as_ninja(bench: Bench, name: str, world: Path, ninja: Command, actions: int) -> Iterator[Line]:
    """The steps that only one of the two tools ran: with nothing changed, and with changed sources."""
    for words, changed in (("nothing changed", ()), ("one source changed", (1,)), ("three changed", (0, 1, 2))):
        for chain in changed:
            worlds.change_source(world, chain % worlds.chains(actions))
            worlds.change_source(ninja.cwd, chain % worlds.chains(actions))
        here = ran_here(run_once(worlds.onnxbuild(bench.python, world)).output, actions)
        there = ran_in_ninja(run_once(Command([*ninja.words, "-v"], ninja.cwd)).output)
        why = f"{words}: {len(here)} steps ran here, {len(there)} in ninja"
        yield Line(name, "steps that differ", len(here ^ there), "", 0, why)


def ran_here(output: str, actions: int) -> set[str]:
    """The steps that a run built, by the names that the peers use, read from its output."""
    names = worlds.step_names(actions)
    return {names[action] for action in re.findall(r"^(?:built|unchanged)  *(m\S+)", output, re.MULTILINE)}


def ran_in_ninja(output: str) -> set[str]:
    """The steps that ninja ran, read from its verbose output."""
    return set(re.findall(r"cp \S+ built/(\S+)\.onnx", output))


def noop_10000(bench: Bench) -> Iterator[Line]:
    """How a run with nothing to do grows."""
    small, large = bench.actions(1000), bench.actions(10_000)
    name = f"no-op, {large:,} actions"
    samples = interleaved(
        {
            "python": bench.nothing(),
            "small": worlds.onnxbuild(bench.python, bench.built("thousand", small)),
            "large": worlds.onnxbuild(bench.python, bench.built("ten-thousand", large)),
        },
        max(bench.repeats, 5),
    )
    idle = cpu(samples["python"])
    growth = (cpu(samples["large"]) - idle) / (cpu(samples["small"]) - idle)
    why = f"at most linear, from {small:,} actions ({cpu(samples['small']):.3f} s), without the start of Python"
    yield Line(name, "growth of CPU", round(growth, 2), "×", large / small, why)
    yield Line(name, "peak memory", peak(samples["large"]) / 1e6, "MB", 200.0)
    yield Line(name, "CPU", cpu(samples["large"]), "s")
    yield Line(name, "wall", wall(samples["large"]), "s")


def large_model(bench: Bench) -> Iterator[Line]:
    """A run with nothing to do over weights of 10 GB."""
    size = round(bench.large_bytes * bench.scale)
    name = f"no-op, {size / 1e9:g} GB of weights"
    places = {
        "small": bench.world("weights-small", lambda world: worlds.make_large(world, 10_000_000)),
        "large": bench.world("weights-large", lambda world: worlds.make_large(world, size)),
    }
    commands = {key: worlds.onnxbuild(bench.python, place) for key, place in places.items()}
    first = {key: run_once(command) for key, command in commands.items()}
    samples = interleaved(commands, max(bench.repeats, 7))
    bound = 1.25 * cpu(samples["small"])
    yield Line(name, "CPU", cpu(samples["large"]), "s", bound, "1.25 × the run with 10 MB: equal, except for noise")
    yield Line(name, "wall", wall(samples["large"]), "s", 1.25 * wall(samples["small"]), "1.25 × the run with 10 MB")
    yield Line(name, "first run, CPU", first["large"].cpu_seconds, "s", None, "copies and hashes the weights")
    yield Line(name, "first run, wall", first["large"].wall_seconds, "s")
    opened = _opened_weights(bench, commands["large"])
    if opened is not None:
        yield Line(name, "weight files opened", opened, "", 0, "strace")
    shutil.rmtree(places["large"])


def _opened_weights(bench: Bench, command: Command) -> int | None:
    """How often a run opens a weights file, counted by strace. None if strace is not installed."""
    strace = shutil.which("strace")
    if strace is None:
        print("  strace is not installed, so opened files are not counted", file=sys.stderr)
        return None
    log = bench.folder / "strace.txt"
    words = [strace, "-f", "-e", "trace=open,openat,openat2", "-o", str(log), *command.words]
    run_once(Command(words, command.cwd, command.environment))
    return len(re.findall(r"model\.onnx_data|/blobs/[0-9a-f]{2}/", log.read_text(encoding="utf-8")))


def lint_1000(bench: Bench) -> Iterator[Line]:
    """Lint of 1,000 models."""
    models = bench.actions(1000)
    name = f"lint, {models:,} models"
    world = bench.world("lint", lambda place: worlds.make_lint(place, models))
    samples = interleaved({"lint": worlds.onnxbuild(bench.python, world, name="lint")}, bench.repeats)["lint"]
    yield Line(name, "CPU", cpu(samples), "s", 1.0)
    yield Line(name, "peak memory", peak(samples) / 1e6, "MB")


def one_changed(bench: Bench) -> Iterator[Line]:
    """One changed source among 1,000 actions."""
    actions = bench.actions(1000)
    name = f"one of {actions:,} changed"
    world = bench.built("thousand", actions)
    run = worlds.onnxbuild(bench.python, world)
    work = Command([bench.python, str(Path(__file__).with_name("bare_worker.py")), str(world)], world, run.environment)
    change = Command(run.words, world, run.environment, before=lambda: worlds.change_source(world, 1))
    alone = bench.built("four", worlds.STEPS)
    few = worlds.onnxbuild(bench.python, alone)
    doit = bench.doit("thousand-doit", actions)
    peer = Command(doit.words, doit.cwd, before=lambda: worlds.change_source(doit.cwd, 1))
    samples = interleaved(
        {
            "no-op": run,
            "changed": change,
            "settled": run,
            "actions": work,
            "python": bench.nothing(),
            "doit": peer,
            "few": Command(few.words, alone, few.environment, before=lambda: worlds.change_source(alone, 0)),
        },
        max(bench.repeats, 7),
    )
    # The interpreter that drives the bare worker does none of the work.
    themselves = cpu(samples["actions"]) - cpu(samples["python"])
    bound = 2 * cpu(samples["no-op"]) + themselves
    why = f"2 × the no-op ({cpu(samples['no-op']):.3f} s) + the 4 actions in a separate manifest"
    yield Line(name, "CPU", cpu(samples["changed"]), "s", 2 * cpu(samples["no-op"]) + cpu(samples["few"]), why)
    why = f"a stricter bound: a worker without the engine, its start and 4 actions ({themselves:.3f} s)"
    yield Line(name, "CPU, against a bare worker", cpu(samples["changed"]), "s", bound, why)
    yield Line(name, "wall", wall(samples["changed"]), "s")
    yield Line(name, "peak memory", peak(samples["changed"]) / 1e6, "MB")
    why = "a changed source in a manifest that has no other actions"
    yield Line(name, "CPU of the 4 actions alone", cpu(samples["few"]), "s", None, why)
    yield Line(name, "CPU of doit", cpu(samples["doit"]), "s", None, "its actions are 4 `cp`")


def cold_1000(bench: Bench) -> Iterator[Line]:
    """1,000 toy actions from an empty store."""
    actions = bench.actions(1000)
    name = f"cold, {actions:,} toy actions"
    world = bench.world("cold", lambda place: worlds.make_onnxbuild(place, actions))

    def forget() -> None:
        for folder in (".onnxbuild", "out"):
            shutil.rmtree(world / folder, ignore_errors=True)

    run = worlds.onnxbuild(bench.python, world)
    samples = interleaved({"cold": Command(run.words, world, run.environment, before=forget)}, bench.repeats)["cold"]
    yield Line(name, "CPU per action", cpu(samples) / actions, "s", 0.005, "including the work of the toy steps")
    yield Line(name, "wall", wall(samples), "s")
    yield Line(
        name,
        "workers started",
        _workers(bench, world, run, forget),
        "",
        actions / 20,
        "each worker serves many actions",
    )


def _workers(bench: Bench, world: Path, run: Command, forget: Callable[[], None]) -> int:
    """How many worker processes a cold run starts. Each writes one line from its `sitecustomize`."""
    spy = bench.folder / "spy"
    spy.mkdir(exist_ok=True)
    log = bench.folder / "workers.txt"
    log.unlink(missing_ok=True)
    code = (
        "import os, sys\n"
        "if any('workers' in word for word in sys.orig_argv):\n"
        f"    with open({str(log)!r}, 'a') as log: log.write(f'{{os.getpid()}}\\n')\n"
    )
    (spy / "sitecustomize.py").write_text(code, encoding="utf-8")
    environment = {**worlds.environment(), "PYTHONPATH": f"{spy}:{worlds.environment()['PYTHONPATH']}"}
    run_once(Command(run.words, world, environment, before=forget))
    return len(log.read_text(encoding="utf-8").splitlines())


def targets_4000(bench: Bench) -> Iterator[Line]:
    """4,000 targets of one model, up to date: from the receipt, and with every target decided."""
    targets = max(10, round(4000 * bench.scale))
    name = f"no-op, {targets:,} targets of one model"
    world = bench.world("targets", lambda place: worlds.make_targets(place, targets))
    run = worlds.onnxbuild(bench.python, world, "-q")
    run_once(run)
    run_once(run)

    def forget() -> None:
        shutil.rmtree(world / ".onnxbuild" / "receipts", ignore_errors=True)

    decided = Command(run.words, world, run.environment, before=forget)
    samples = interleaved({"receipt": run, "decided": decided}, min(bench.repeats, 3))
    yield Line(name, "CPU from the receipt", cpu(samples["receipt"]), "s", 1.0)
    yield Line(name, "CPU with each decided", cpu(samples["decided"]), "s", 8.0, "84 s while it was quadratic")
    yield Line(name, "peak memory", peak(samples["decided"]) / 1e6, "MB")


def noop_20000(bench: Bench) -> Iterator[Line]:
    """A run with nothing to do, 20,000 actions."""
    actions = bench.actions(20_000)
    name = f"no-op, {actions:,} actions"
    run = worlds.onnxbuild(bench.python, bench.built("many", actions))
    samples = interleaved({"onnxbuild": run}, min(bench.repeats, 3))["onnxbuild"]
    yield Line(name, "CPU", cpu(samples), "s", 3.0)
    yield Line(name, "wall", wall(samples), "s")
    yield Line(name, "peak memory", peak(samples) / 1e6, "MB")


def quickstart(bench: Bench) -> Iterator[Line]:
    """A cold build of the quickstart, compared with `quickstart_baseline.py`."""
    name = "quickstart, cold"
    world = bench.world("quickstart", lambda _place: None)
    manifest = worlds.PACKAGE / "manifests" / "quickstart.yaml"
    shutil.copyfile(manifest, world / "manifest.yaml")

    def forget() -> None:
        for folder in (".onnxbuild", "out"):
            shutil.rmtree(world / folder, ignore_errors=True)

    run = worlds.onnxbuild(bench.python, world)
    baseline = Path(__file__).with_name("quickstart_baseline.py")
    samples = interleaved(
        {
            "scripts": Command([bench.python, str(baseline), str(world / "scripts")], world, run.environment),
            "onnxbuild": Command(run.words, world, run.environment, before=forget),
        },
        min(bench.repeats, 3),
    )
    for what, of in (("wall", wall), ("CPU", cpu)):
        theirs = of(samples["scripts"])
        yield Line(
            name, what, of(samples["onnxbuild"]), "s", theirs / 2, f"half of the commands and scripts ({theirs:.1f} s)"
        )


BENCHMARKS: Mapping[str, Benchmark] = {
    "noop-12": noop_12,
    "noop-1000": noop_1000,
    "noop-10000": noop_10000,
    "noop-20000": noop_20000,
    "targets-4000": targets_4000,
    "large-model": large_model,
    "lint-1000": lint_1000,
    "one-changed": one_changed,
    "cold-1000": cold_1000,
    "quickstart": quickstart,
}
