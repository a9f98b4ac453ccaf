"""What reads what somebody else wrote: each surface takes bytes, and reads them or raises an error of its own type."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from odd_manifests import BESIDE, BytesDice, OddManifest, odd_selector

from onnxbuild.diagnostics import DiagnosticError

ROOT = Path(__file__).parents[2]
_CHANCES = 3000  # bytes: more than a manifest takes


class Surface:
    """Something that reads foreign bytes: real ones to begin with, how to read them, and its own errors."""

    name = ""
    errors: tuple[type[Exception], ...] = (DiagnosticError,)
    is_chance = False  # whether the bytes are choices, of which every value has a meaning

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


class ExpanderSurface(Surface):
    """Includes, variables, defaults, matrices, the expander and its graph: the bytes choose a manifest."""

    name = "expander"
    is_chance = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from onnxbuild.machine import Machine

        self.machine = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
        for name, data in BESIDE.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        (folder / "below").mkdir()

    def seeds(self) -> list[bytes]:
        return [random.Random(number).randbytes(_CHANCES) for number in range(20)]

    def read(self, data: bytes) -> Any:
        from onnxbuild.commands.graph import RENDERERS
        from onnxbuild.commands.lint import lint
        from onnxbuild.manifest.load import read_manifest
        from onnxbuild.planning.expand import survey
        from onnxbuild.planning.locked import Lock
        from onnxbuild.planning.select import select, variants_named
        from onnxbuild.report.render_diagnostics import render
        from onnxbuild.steps import KINDS

        dice = BytesDice(data)
        for name, text in OddManifest(dice).files().items():
            (self.folder / name).write_bytes(text)
        render(lint("m.yaml", self.machine, kinds=KINDS), "json").encode()
        manifest, _ = read_manifest("m.yaml", kinds=KINDS)
        graph = survey(manifest, KINDS, Lock(), self.machine).graph
        for draw in RENDERERS.values():
            draw(graph, {})
        selectors = [odd_selector(dice, sorted(graph.actions) or ["m/t:fetch"]) for _ in range(3)]
        return variants_named(graph, selectors), select(graph, selectors)


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

        # Half of them are odd ones of the graph's own names, the others damaged texts.
        odd = len(data) % 2 == 0
        text = odd_selector(BytesDice(data), sorted(self.graph.actions)) if odd else os.fsdecode(data)
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


class AccountSurface(Surface):
    """The `onnxbuild.json` of a folder from somebody else: its check, its documents, and the plan of its checks."""

    name = "account"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from onnxbuild.commands.proving.check_again import Lacking

        self.errors = (DiagnosticError, Lacking)

    def seeds(self) -> list[bytes]:
        from folders_to_check import FILES, account, folder_with

        folder_with(self.folder / "f")
        older = {name: value for name, value in account().items() if name not in {"sources", "datasets"}}
        return [json.dumps(one).encode() for one in (account(), older, {**account(FILES), "steps": []})]

    def read(self, data: bytes) -> Any:
        from onnxbuild.commands.proving.check_again import Planner
        from onnxbuild.deliver.checking.account import account_of
        from onnxbuild.deliver.checking.folder_check import check_folder
        from onnxbuild.protocol import json_text
        from onnxbuild.report.proofs.cyclonedx_bom import bom
        from onnxbuild.report.proofs.slsa_statement import statement
        from onnxbuild.steps import KINDS
        from onnxbuild.store.store import Store

        folder = self.folder / "f"
        (folder / "onnxbuild.json").write_bytes(data)
        account, text = account_of(folder)
        check_folder(folder, account)
        digests = dict.fromkeys((*account.files, "onnxbuild.json"), "0" * 64)
        documents = json_text([bom(account, text, digests, {}), statement(account, text, digests)])
        with Store(self.folder / "store") as store:
            return documents, Planner(folder, account, store, [folder], KINDS, offline=False).graph()


SURFACES: Sequence[type[Surface]] = (
    ManifestSurface, ExpanderSurface, LockSurface, SelectorsSurface, RowsSurface, RemoteSurface, MessageSurface,
    AccountSurface,
)  # fmt: skip
