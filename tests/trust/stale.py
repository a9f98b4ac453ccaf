"""`make stale COUNT=1000`: edit a world at random, build, and compare what was delivered with a build from nothing.

The edits are those of people and of careless tools: of the manifest, of sources, datasets, the code of plugins and of
custom exporters (with the same size and the same time of last change, too), of what was delivered, of the store, and
none at all.
"""

from __future__ import annotations

import argparse
import json
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
from trust.exported_world import ExportedWorld

Steps = dict[str, list[dict]]
READERS = ("filed", "inline")
WORDS = ("alpha", "bravo", "delta", "gamma", "omega")  # of one length


class EditedWorld:
    """A world with its own copy of the plugin, and the edits that can happen to it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.undone: list[str] = []
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
        self.rows: list[dict[str, str]] = [{"text": "alpha"}]
        self.limit = 1
        self.dataset().write_text('{"text": "alpha"}\n')
        self.exported = ExportedWorld(self.world, self.plugin, root / "clean-exports")

    def edit(self) -> str:
        """Make one edit; return its name. Each is made once before one is made again."""
        self.undone = self.undone or self.dice.sample(sorted(EDITS), len(EDITS))
        name = self.undone.pop()
        EDITS[name](self)
        return name

    def built(self) -> Mapping[str, bytes]:
        """Build incrementally, and return what is delivered."""
        self.write_manifest(self.world)
        ended = self.world.run("--json", "-j", "2")
        assert ended.code == 0, ended
        assert self.world.damaged_blobs() == [] or self.world.run("--json").code == 0
        return {**self.files(self.world.root / "out"), **self.exported.built()}

    def clean(self) -> Mapping[str, bytes]:
        """Build the same from nothing, in another folder."""
        shutil.rmtree(self.clean_root, ignore_errors=True)
        clean = World(self.clean_root)
        clean.environment["PYTHONPATH"] = self.world.environment["PYTHONPATH"]
        shutil.rmtree(clean.root / "model")
        shutil.copytree(self.world.root / "model", clean.root / "model")
        shutil.copyfile(self.dataset(), clean.root / self.dataset().name)
        self.write_manifest(clean)
        ended = clean.run("--json", "-j", "2")
        assert ended.code == 0, ended
        return {**self.files(clean.root / "out"), **self.exported.clean()}

    def write_manifest(self, world: World) -> None:
        """The toys of the targets, and two targets that read datasets."""
        path = world.manifest(self.steps, targets=[*self.steps, *READERS])
        whole = json.loads(path.read_text())
        whole["targets"] |= {name: {"steps": [{"reader": {"dataset": name}}]} for name in READERS}
        whole["datasets"] = {
            "filed": {"source": "file:rows.jsonl", "limit": self.limit},
            "inline": {"source": self.rows},
        }
        path.write_text(json.dumps(whole))

    def files(self, out: Path) -> Mapping[str, bytes]:
        """What is delivered of the targets that the manifest has.

        `onnxbuild.json` holds the process of the worker. After it was damaged, files that differ from the result are
        taken for somebody else's, and kept under the name `….kept`.
        """
        return {
            str(path.relative_to(out)): path.read_bytes()
            for target in (*self.steps, *READERS)
            for path in sorted((out / "m" / target).rglob("*"))
            if path.is_file() and path.name not in {"onnxbuild.json", "notes.txt"} and path.suffix != ".kept"
        }

    def source(self) -> Path:
        return self.world.root / "model" / "model.onnx"

    def dataset(self) -> Path:
        return self.world.root / "rows.jsonl"

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


def _in_place(path: Path, data: bytes, *, whole_second: bool = False) -> None:
    """Change a file, and put the time of its last change back: exactly, or to the second, as some file systems do."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()
    time_ns = status.st_mtime_ns // 10**9 * 10**9 if whole_second else status.st_mtime_ns
    os.utime(path, ns=(time_ns, time_ns))


def _replaced(path: Path, data: bytes) -> None:
    """Rename another file over one, with the same time."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(data)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _with_word(world: EditedWorld, path: Path) -> bytes:
    """The content with another word of the same length in the place of those that it has."""
    data = path.read_bytes()
    word = world.dice.choice(WORDS).encode()
    for one in WORDS:
        data = data.replace(one.encode(), word)
    return data


def _source_same_size(world: EditedWorld) -> None:
    path = world.source()
    data = path.read_bytes()
    _in_place(path, (world.dice.choice(WORDS).encode() + data[5:])[: len(data)])


def _source_same_second(world: EditedWorld) -> None:
    path = world.source()
    data = path.read_bytes()
    _in_place(path, (world.dice.choice(WORDS).encode() + data[5:])[: len(data)], whole_second=True)


def _source_replaced(world: EditedWorld) -> None:
    path = world.source()
    _replaced(path, os.urandom(path.stat().st_size))


def _dataset_rewritten(world: EditedWorld) -> None:
    rows = [json.dumps({"text": world.dice.choice(WORDS)}) for _ in range(world.dice.randint(1, 3))]
    world.dataset().write_text("\n".join(rows) + "\n")


def _dataset_same_size(world: EditedWorld) -> None:
    _in_place(world.dataset(), _with_word(world, world.dataset()), whole_second=world.dice.random() < 0.5)


def _dataset_replaced(world: EditedWorld) -> None:
    _replaced(world.dataset(), _with_word(world, world.dataset()))


def _dataset_rows(world: EditedWorld) -> None:
    world.rows = [{"text": world.dice.choice(WORDS)} for _ in range(world.dice.randint(1, 2))]


def _dataset_limit(world: EditedWorld) -> None:
    world.limit = world.dice.randint(1, 3)


def _manifest_same_size(world: EditedWorld) -> None:
    """Inline rows of the same length, and the time of the manifest put back."""
    path = world.world.root / "manifest.yaml"
    before = path.stat()
    world.rows = [{"text": world.dice.choice(WORDS)} for _ in world.rows]
    world.write_manifest(world.world)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


def _exporter_edited(world: EditedWorld) -> None:
    world.exported.code.write_bytes(_with_word(world, world.exported.code))


def _exporter_same_size(world: EditedWorld) -> None:
    path = world.exported.code
    _in_place(path, _with_word(world, path), whole_second=world.dice.random() < 0.5)


def _exporter_replaced(world: EditedWorld) -> None:
    _replaced(world.exported.code, _with_word(world, world.exported.code))


def _beside_exporter_edited(world: EditedWorld) -> None:
    """A module beside an exporter of one file, which it tries to import."""
    path = world.exported.code.with_name("beside.py")
    path.write_bytes(_with_word(world, path))


def _beside_exporter_same_size(world: EditedWorld) -> None:
    path = world.exported.code.with_name("beside.py")
    _in_place(path, _with_word(world, path), whole_second=True)


def _exporter_helper_edited(world: EditedWorld) -> None:
    path = world.exported.package / "words.py"
    path.write_bytes(_with_word(world, path))


def _exporter_helper_same_size(world: EditedWorld) -> None:
    path = world.exported.package / "words.py"
    _in_place(path, _with_word(world, path), whole_second=world.dice.random() < 0.5)


def _exporter_helper_added(world: EditedWorld) -> None:
    (world.exported.package / "more.py").write_text(f"WORD = '{world.dice.choice(WORDS)}'\n")


def _exporter_helper_removed(world: EditedWorld) -> None:
    (world.exported.package / "more.py").unlink(missing_ok=True)


def _checkpoint_same_size(world: EditedWorld) -> None:
    path = world.world.root / "checkpoint" / "model.safetensors"
    _in_place(path, _with_word(world, path), whole_second=world.dice.random() < 0.5)


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
    for name in ("out", "exports"):
        shutil.rmtree(world.world.root / name, ignore_errors=True)


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


_HELPERS = {"_blob", "_in_place", "_replaced", "_with_word"}
EDITS: Mapping[str, Callable[[EditedWorld], None]] = {
    name.removeprefix("_"): work
    for name, work in list(globals().items())
    if name.startswith("_") and callable(work) and name not in _HELPERS and not name.startswith("__")
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
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
