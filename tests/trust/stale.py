"""`make stale COUNT=1000`: edit a world at random, build, and compare what was delivered with a build from nothing.

The edits are those of people and of careless tools: of the manifest, of sources (with the same size and the same time
of last change, too), of what was delivered, of the store, of a plugin's code, and none at all.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from plugin.world import PLUGIN, ROOT, World

Steps = dict[str, list[dict]]
WORDS = ("alpha", "bravo", "delta", "gamma", "omega")  # of one length


class EditedWorld:
    """A world with its own copy of the plugin, and the edits that can happen to it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(root / "world")
        self.plugin = root / "plugin"
        shutil.copytree(PLUGIN, self.plugin)
        self.world.environment["PYTHONPATH"] = f"{self.plugin}{os.pathsep}{ROOT}"
        self.steps: Steps = {
            "a": [{"text": "alpha"}, {"text": "bravo"}],
            "b": [{"text": "alpha"}],
            "c": [{"text": "delta"}, {"text": "omega"}, {"text": "alpha"}],
        }
        self.clean_root = root / "clean"

    def edit(self) -> str:
        """Make one edit; return its name."""
        name, work = self.dice.choice(sorted(EDITS.items()))
        work(self)
        return name

    def built(self) -> Mapping[str, bytes]:
        """Build incrementally, and return what is delivered."""
        self.world.manifest(self.steps)
        ended = self.world.run("--json", "-j", "2")
        assert ended.code == 0, ended
        assert self.world.damaged_blobs() == [] or self.world.run("--json").code == 0
        return self.files(self.world.root / "out")

    def clean(self) -> Mapping[str, bytes]:
        """Build the same from nothing, in another folder."""
        shutil.rmtree(self.clean_root, ignore_errors=True)
        clean = World(self.clean_root)
        clean.environment["PYTHONPATH"] = self.world.environment["PYTHONPATH"]
        shutil.rmtree(clean.root / "model")
        shutil.copytree(self.world.root / "model", clean.root / "model")
        clean.manifest(self.steps)
        ended = clean.run("--json", "-j", "2")
        assert ended.code == 0, ended
        return self.files(clean.root / "out")

    def files(self, out: Path) -> Mapping[str, bytes]:
        """What is delivered of the targets that the manifest has.

        `onnxbuild.json` holds the process of the worker. After it was damaged, files that differ from the result are
        taken for somebody else's, and kept under the name `….kept`.
        """
        return {
            str(path.relative_to(out)): path.read_bytes()
            for target in self.steps
            for path in sorted((out / "m" / target).rglob("*"))
            if path.is_file() and path.name not in {"onnxbuild.json", "notes.txt"} and path.suffix != ".kept"
        }

    def source(self) -> Path:
        return self.world.root / "model" / "model.onnx"

    def delivered(self) -> Path | None:
        paths = [path for path in sorted((self.world.root / "out").glob("*/[!.]*/*")) if path.name != "notes.txt"]
        return self.dice.choice(paths) if paths else None


def _step_text(world: EditedWorld) -> None:
    world.dice.choice(world.dice.choice(list(world.steps.values())))["text"] = world.dice.choice(WORDS)


def _step_added(world: EditedWorld) -> None:
    world.dice.choice(list(world.steps.values())).append({"text": world.dice.choice(WORDS)})


def _step_removed(world: EditedWorld) -> None:
    steps = world.dice.choice(list(world.steps.values()))
    if len(steps) > 1:
        steps.pop(world.dice.randrange(len(steps)))


def _steps_swapped(world: EditedWorld) -> None:
    world.dice.shuffle(world.dice.choice(list(world.steps.values())))


def _target_replaced(world: EditedWorld) -> None:
    name = world.dice.choice(sorted(world.steps))
    if name in "abc" and len(world.steps) > 2:
        del world.steps[name]
    world.steps.setdefault(world.dice.choice("abcd"), [{"text": world.dice.choice(WORDS)}])


def _source_rewritten(world: EditedWorld) -> None:
    world.source().write_bytes(os.urandom(world.dice.choice([0, 1, 30, 30_000])) + b"x")


def _source_same_size(world: EditedWorld) -> None:
    """In place, with the same size and the time of the last change set back."""
    path = world.source()
    status = path.stat()
    with open(path, "r+b") as file:
        file.write(world.dice.choice(WORDS).encode()[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _source_replaced(world: EditedWorld) -> None:
    """Another file renamed over it, with the same size and time."""
    path = world.source()
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(os.urandom(status.st_size))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _config_edited(world: EditedWorld) -> None:
    (world.world.root / "model" / "config.json").write_text(f'{{"name": "{world.dice.choice(WORDS)}"}}')


def _source_touched(world: EditedWorld) -> None:
    world.source().touch()


def _source_added(world: EditedWorld) -> None:
    (world.world.root / "model" / "tokenizer.json").write_text(world.dice.choice(WORDS))


def _source_removed(world: EditedWorld) -> None:
    (world.world.root / "model" / "tokenizer.json").unlink(missing_ok=True)


def _output_edited(world: EditedWorld) -> None:
    path = world.delivered()
    if path is not None:
        status = path.stat()
        path.chmod(0o644)
        path.write_bytes(b"?" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _output_removed(world: EditedWorld) -> None:
    path = world.delivered()
    if path is not None:
        path.unlink()


def _output_added(world: EditedWorld) -> None:
    path = world.delivered()
    if path is not None:
        path.with_name("notes.txt").write_text("mine")


def _outputs_removed(world: EditedWorld) -> None:
    shutil.rmtree(world.world.root / "out", ignore_errors=True)


def _blob(world: EditedWorld) -> Path | None:
    blobs = sorted(path for path in (world.world.store / "blobs").rglob("*") if path.is_file())
    return world.dice.choice(blobs) if blobs else None


def _blob_removed(world: EditedWorld) -> None:
    path = _blob(world)
    if path is not None:
        path.unlink()


def _database_removed(world: EditedWorld) -> None:
    for path in world.world.store.glob("traces.db*"):
        path.unlink()


def _state_removed(world: EditedWorld) -> None:
    shutil.rmtree(world.world.root / ".onnxbuild", ignore_errors=True)


def _plugin_edited(world: EditedWorld) -> None:
    """The plugin's code does something else, and its version stays."""
    path = world.plugin / "toy_steps" / "work.py"
    text = path.read_text()
    line = next(line for line in text.splitlines() if "params.text.encode()" in line)
    base = line.split("+")[0].rstrip()
    path.write_text(text.replace(line, f"{base} + params.text.encode() + {world.dice.choice(WORDS).encode()!r}"))


def _nothing(_world: EditedWorld) -> None:
    pass


EDITS: Mapping[str, Callable[[EditedWorld], None]] = {
    name.removeprefix("_"): work
    for name, work in list(globals().items())
    if name.startswith("_") and callable(work) and name not in {"_blob", "__loader__"} and not name.startswith("__")
}


def edited(root: Path, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Make edits, some at a time, each followed by a build. Returns what was done, and what was stale."""
    world = EditedWorld(root, seed)
    done: Counter[str] = Counter()
    stale: list[str] = []
    world.built()
    while done.total() < count:
        names = [world.edit() for _ in range(world.dice.choice([1, 1, 2, 4]))]
        done.update(names)
        try:
            incremental, clean = world.built(), world.clean()
        except AssertionError as error:
            stale.append(f"seed {seed} after {names}: {error}")
            break
        if incremental != clean:
            wrong = sorted(name for name in {*incremental, *clean} if incremental.get(name) != clean.get(name))
            stale.append(f"seed {seed} after {names}: {wrong}")
            shutil.rmtree(world.world.root / ".onnxbuild", ignore_errors=True)
    return done, stale


def main() -> int:
    """The exit code is 1 if a build delivered something else than one from nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    done: Counter[str] = Counter()
    stale: list[str] = []
    while done.total() < options.count:
        with tempfile.TemporaryDirectory(prefix="onnxbuild-stale-", ignore_cleanup_errors=True) as folder:
            more, wrong = edited(Path(folder), options.seed + len(stale) + done.total(), min(100, options.count))
        done, stale = done + more, stale + wrong
        for words in wrong:
            print(f"STALE {words}", flush=True)
    print(f"{done.total()} edits, {len(stale)} stale or failed, in {(time.monotonic() - began) / 60:.1f} min")
    print(", ".join(f"{name} {number}" for name, number in sorted(done.items())))
    return min(1, len(stale))


if __name__ == "__main__":
    sys.exit(main())
