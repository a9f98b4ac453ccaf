# ruff: noqa: E402 - a script sets its path first
"""`make fuzz COUNT=100000`: damaged inputs for everything that reads what somebody else wrote.

Each surface takes bytes, damaged versions of real ones, and either reads them or raises an error of its own type. Any
other exception would be an exit code 3. A call that takes more than 5 s, or a process that grows by more than 300 MB,
is a finding, too. The same seed gives the same inputs; `--only SURFACE:NUMBER` repeats one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from onnxbuild.diagnostics import DiagnosticError

SECONDS, MEGABYTES = 5, 300
_SHARES = {"manifest": 30, "lock": 15, "selectors": 15, "rows": 10, "remote": 15, "message": 15}  # of 100 inputs

_PIECES = (
    b"\0", b"\xff", b"\xe9", b"\n", b"\t", b'"', b"'", b"{", b"}", b"[", b"]", b":", b",", b"- ", b"#", b"&a ", b"*a",
    b"${", b"${vars.n}", b"$${", b"<<: ", b"---\n", b"null", b"true", b"-1", b"1e999", b"NaN", b"0x1f", b"9" * 30,
    b"\\", b"../", b"/", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xae", b"\x1b[2J", b"+", b"*", b"?", b"[!",
    b"a" * 300,
    b"[" * 200, b'{"a":' * 200, b"\\ud800", b"\\u0000", b"18446744073709551616", b"1.5",
)  # fmt: skip


def damaged(data: bytes, dice: random.Random) -> bytes:
    """A few edits of the kinds that find faults: insertions, deletions, swaps, repetitions, flipped bits, a cut."""
    for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
        at, what = dice.randrange(len(data) + 1), dice.random()
        end = min(len(data), at + dice.choice([1, 2, 8, 40]))
        if what < 0.3:
            data = data[:at] + dice.choice(_PIECES) + data[at:]
        elif what < 0.5:
            data = data[:at] + data[end:]
        elif what < 0.65:
            data = data[:at] + dice.choice(_PIECES) + data[end:]
        elif what < 0.75:
            words = data.split(b" ")
            words[dice.randrange(len(words))] = dice.choice(words)
            data = b" ".join(words)
        elif what < 0.85 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]
        elif what < 0.95:
            data = data[:end] + data[at:end] * dice.choice([1, 3, 50]) + data[end:]
        else:
            data = data[:at]
    return data


class Surface:
    """Something that reads foreign bytes: real ones to begin with, how to read them, and its own errors."""

    name = ""
    errors: tuple[type[Exception], ...] = (DiagnosticError,)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def seeds(self) -> list[bytes]:
        raise NotImplementedError

    def read(self, data: bytes) -> Any:
        raise NotImplementedError


class ManifestSurface(Surface):
    """Lint: parser, schema, references, matrices, expander, rules, and every format of the faults."""

    name = "manifest"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from onnxbuild.machine import Machine

        self.machine = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
        (folder / "more.yaml").write_text("vars: {other: 1}\n")

    def seeds(self) -> list[bytes]:
        places = [*(ROOT / "manifests").glob("*.yaml"), *(ROOT / "tests" / "rules").glob("*/*.yaml")]
        return [path.read_bytes() for path in sorted(places)]

    def read(self, data: bytes) -> Any:
        from onnxbuild.commands.lint import lint
        from onnxbuild.report.render_diagnostics import FORMATS, render
        from onnxbuild.steps import KINDS

        (self.folder / "m.yaml").write_bytes(data)
        found = lint("m.yaml", self.machine, kinds=KINDS)
        for one in FORMATS:
            render(found, one).encode()


class LockSurface(Surface):
    """The lock file."""

    name = "lock"

    def seeds(self) -> list[bytes]:
        digest = "a" * 64
        sources = {"hub:org/name@main": {"commit": "b" * 40, "files": ["config.json", "model.safetensors"],
                                         "config": {"model_type": "bert", "hidden_size": 8}}}  # fmt: skip
        packages = [{"name": "torch", "version": "2.13.0", "hashes": [f"sha256:{digest}"]}]
        return [
            json.dumps({"version": 1, "sources": sources}, indent=1).encode(),
            json.dumps({"version": 1, "sources": sources, "toolchains": {digest: {"packages": packages}}}).encode(),
        ]

    def read(self, data: bytes) -> Any:
        from onnxbuild.planning.lock_file import read_lock

        path = self.folder / "onnxbuild.lock"
        path.write_bytes(data)
        return read_lock(path)


class SelectorsSurface(Surface):
    """Selectors of the command line."""

    name = "selectors"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, Variant

        names = [f"m{number}/t:toy" for number in range(30)]
        output = [OutputRef(name, "model") for name in names]
        actions = {name: Action(id=name, kind="toy", params={}, inputs={}) for name in names}
        variants = [
            Variant(model=f"m{number}", target="t", output=output[number], precision="fp32", steps=(), checks=(),
                    measures=()) for number in range(30)
        ]  # fmt: skip
        self.graph = ActionGraph(actions, tuple(variants))

    def seeds(self) -> list[bytes]:
        return [b"m1", b"m1/t", b"m1/t:toy", b"*/t", b":toy", b"+m2", b"m2+", b"m[12]/t", b"m?/*:t*"]

    def read(self, data: bytes) -> Any:
        from onnxbuild.planning.select import select, variants_named

        text = os.fsdecode(data)
        return select(self.graph, [text]), variants_named(self.graph, [text])


class RowsSurface(Surface):
    """The rows of the store's database, as another version or a damaged disk leaves them."""

    name = "rows"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from toys import Bench, step

        self.world = (step("a", text="x"), step("b", of="a"))
        self.bench = Bench(folder / "rows")
        self.bench(*self.world)
        self.path = folder / "rows" / "store" / "traces.db"
        with sqlite3.connect(self.path) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            self.cells = [
                (table, column[1], row)
                for table in sorted(tables)
                for column in database.execute(f"PRAGMA table_info({table})")
                for row in range(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            ]
        self.whole = self.path.read_bytes()

    def seeds(self) -> list[bytes]:
        """A cell each: its number, then its content."""
        with sqlite3.connect(self.path) as database:
            return [f"{number} ".encode() + self._content(database, *cell) for number, cell in enumerate(self.cells)]

    def _content(self, database: sqlite3.Connection, table: str, column: str, row: int) -> bytes:
        (value,) = database.execute(f"SELECT {column} FROM {table} LIMIT 1 OFFSET {row}").fetchone()
        return value if isinstance(value, bytes) else str(value).encode()

    def read(self, data: bytes) -> Any:
        from toys import TOYS, graph_of

        from onnxbuild.execute.preview import preview
        from onnxbuild.store.store import Store

        number, _, content = data.partition(b" ")
        table, column, row = self.cells[int(number) % len(self.cells) if number.isdigit() else 0]
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self.path.write_bytes(self.whole)
        database = sqlite3.connect(self.path)
        value: Any = content if len(content) % 3 else os.fsdecode(content).encode("utf-8", "replace").decode()
        try:
            keys = [name for _, name, *_, is_key in database.execute(f"PRAGMA table_info({table})") if is_key]
            where = " AND ".join(f"{key} = ?" for key in keys)
            of_row = database.execute(f"SELECT {', '.join(keys)} FROM {table} LIMIT 1 OFFSET {row}").fetchone()
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value, *of_row))
            database.commit()
        except sqlite3.Error:
            return None  # a constraint of the table refused it
        finally:
            database.close()
        with Store(self.folder / "rows" / "store") as store:
            found = list(
                preview(graph_of(*self.world), kinds=TOYS, store=store, runner=self.bench.runner, scope="test")
            )
            return found, store.traces.all_traces(), store.traces.all_last(), store.traces.last_keys()


class RemoteSurface(Surface):
    """An object of a remote store."""

    name = "remote"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from toys import Bench, step

        from onnxbuild.store.remote.remote_errors import DamagedObject

        self.errors = (DiagnosticError, DamagedObject)
        bench = Bench(folder / "remote")
        self.made = bench.outcomes(step("a", text="x"))["a"]
        self.root = folder / "remote" / "store"

    def seeds(self) -> list[bytes]:
        from onnxbuild.store.remote.parcel import Parcel, plain_object
        from onnxbuild.store.store import Store

        with Store(self.root) as store:
            trace = store.traces.find(self.made.key)
            trees = {digest: store.tree(digest).files for digest in trace.outputs.values()}
        return [plain_object(Parcel(trace=trace, trees=trees))]

    def read(self, data: bytes) -> Any:
        from onnxbuild.store.remote.parcel import parcel_from

        return parcel_from(self.made.key, data, {"cat": ("out",)})


class MessageSurface(Surface):
    """What a worker writes."""

    name = "message"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from onnxbuild.runners.messages import Unreadable

        self.errors = (DiagnosticError, Unreadable)

    def seeds(self) -> list[bytes]:
        import msgspec

        from onnxbuild.protocol import Failure, Progress, Response

        facts = {"bytes": 5, "metrics": {"cosine": 0.999}, "files": [{"name": "a", "bytes": 1}]}
        failure = Failure(code="OBE99", message="no", notes=(("hint", "x"),))
        values = [Response(id="m:fetch", facts=facts), Response(id="m:fetch", failure=failure),
                  Progress(id="m:fetch", text="5 of 10", done=5, total=10)]  # fmt: skip
        return [msgspec.json.encode(value) + b"\n" for value in values]

    def read(self, data: bytes) -> Any:
        from onnxbuild.runners.messages import messages

        return list(messages(BytesIO(data)))


SURFACES: Sequence[type[Surface]] = (
    ManifestSurface, LockSurface, SelectorsSurface, RowsSurface, RemoteSurface, MessageSurface,
)  # fmt: skip


class TooSlow(BaseException):
    """A call took longer than it may. No `except Exception` catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt a call that takes too long."""

    def stop(_number: int, _frame: object) -> None:
        raise TooSlow(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_megabytes() -> float:
    """The most memory that this process has had, on Linux since `_peak_from_now`."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _peak_from_now() -> float:
    """The memory of this process. Linux counts the peak anew; elsewhere, growth below the earlier peak is not seen."""
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return peak_megabytes()


def finding(surface: Surface, data: bytes) -> str | None:
    """What is wrong with how a surface reads some bytes; None if it is right."""
    before = _peak_from_now()
    try:
        # The clock of a machine that others use, too, is no measure: a hang takes longer than any pause.
        with time_limit(4 * SECONDS):
            began = time.process_time()
            surface.read(data)
    except surface.errors:
        pass
    except (Exception, TooSlow, RecursionError):
        return traceback.format_exc()
    if (seconds := time.process_time() - began) > SECONDS:
        return f"took {seconds:.1f} s of CPU"
    grown = peak_megabytes() - before
    return f"took {grown:.0f} MB" if grown > MEGABYTES else None


def one_input(seeds: Sequence[bytes], seed: int, number: int) -> bytes:
    """The input with a number: every tenth is pure noise."""
    dice = random.Random(f"{seed} {number}")
    if number % 10 == 9:
        return bytes(dice.randrange(256) for _ in range(dice.randrange(80)))
    return damaged(dice.choice(seeds), dice)


def fuzzed(surface: Surface, count: int, seed: int) -> Iterator[tuple[int, bytes, str]]:
    """The findings of a surface: the number of the input, the input, and what was wrong."""
    seeds = surface.seeds()
    for data in seeds:
        assert finding(surface, data) is None, f"{surface.name}: an undamaged input fails: {finding(surface, data)}"
    for number in range(count):
        data = one_input(seeds, seed, number)
        if (words := finding(surface, data)) is not None:
            yield number, data, words


def counts(total: int, only: str | None) -> dict[str, int]:
    """How many inputs each surface gets."""
    if only:
        return {only: total}
    return {name: max(1, total * share // 100) for name, share in _SHARES.items()}


def in_folder(make: type[Surface], count: int, seed: int) -> list[tuple[int, bytes, str]]:
    """The findings of a surface, in an empty folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="onnxbuild-fuzz-") as folder:
        os.chdir(folder)
        try:
            return list(fuzzed(make(Path(folder)), count, seed))
        finally:
            os.chdir(before)


def report(name: str, count: int, seconds: float, found: list[tuple[int, bytes, str]]) -> str:
    """One line for a surface, and one finding of each kind."""
    kinds = Counter(words.strip().splitlines()[-1][:100] for _, _, words in found)
    lines = [f"{name:<10} {count:7,} inputs {seconds:7.1f} s {peak_megabytes():5.0f} MB  {len(found)} findings"]
    shown: set[str] = set()
    for number, data, words in found:
        kind = words.strip().splitlines()[-1][:100]
        if kind not in shown:
            shown.add(kind)
            lines += [f"  {kinds[kind]} × {kind}", f"  input {number}: {data[:300]!r}", *words.splitlines()[-12:]]
    return "\n".join(lines)


def main() -> int:
    """Fuzz every surface, or one. The exit code is 1 if there is a finding."""
    parser = argparse.ArgumentParser(description="Damaged inputs for everything that reads what somebody else wrote.")
    parser.add_argument("--count", type=int, default=10_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--surface", choices=sorted(_SHARES))
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only this input of a surface, with its traceback")
    options = parser.parse_args()
    findings = 0
    wanted = counts(options.count, options.surface)
    for make in SURFACES:
        if make.name not in wanted:
            continue
        if options.only is not None:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                surface = make(Path(folder))
                data = one_input(surface.seeds(), options.seed, options.only)
                print(data, finding(surface, data), sep="\n")
            continue
        began = time.monotonic()
        found = in_folder(make, wanted[make.name], options.seed)
        print(report(make.name, wanted[make.name], time.monotonic() - began, found), flush=True)
        findings += len(found)
    return min(findings, 1)


if __name__ == "__main__":
    sys.exit(main())
