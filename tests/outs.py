"""A store with results that were published by hand, and the output folder that they are delivered to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

from onnxbuild.deliver.out_folder import Delivery, deliver
from onnxbuild.digest import digest_value
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, Variant
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace

PARTS = {"version": 1, "packages": {}, "toolchain": {}, "machine": None, "inputs": {}}
Files = Mapping[str, bytes]


class Outs:
    """`out/m/TARGET` and what is delivered there."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "out"
        self.folder = self.out / "m" / "t"

    def deliver(self, files: Files, *, target: str = "t", outcome: str = "hit") -> Delivery:
        """Publish the files as the result of an action, and deliver them as one variant."""
        with Store(self.root / "store") as store:
            graph, outcomes = self.published(store, files, target, outcome)
            (delivery,) = deliver(graph, outcomes, store, self.out)
        return delivery

    def published(self, store: Store, files: Files, target: str = "t",
                  outcome: str = "hit") -> tuple[ActionGraph, dict[str, Outcome]]:  # fmt: skip
        name = f"m/{target}:toy"
        contents = {file: blake3(content).hexdigest() for file, content in files.items()}
        parts = PARTS | {"inputs": contents}
        key = digest_value(parts)
        trace = store.lookup(key)
        if trace is None:
            work = store.workspace()
            write(work, files)
            trace = store.publish(key, Trace(parts=parts, outputs={}, facts={}, seconds=0.0, worker=""), {"out": work})
        action = Action(id=name, kind="toy", params={}, inputs={})
        variant = Variant(
            model="m",
            target=target,
            output=OutputRef(name, "out"),
            precision="fp32",
            steps=(name,),
            checks=(),
            measures=(),
        )
        ended = Outcome(id=name, kind="toy", outcome=outcome, key=key, outputs=trace.outputs)
        return ActionGraph({name: action}, (variant,)), {name: ended}

    def files(self) -> dict[str, bytes]:
        """Every regular file in the delivered folder, but not its description."""
        found = {}
        for place, _, names in os.walk(self.folder):
            for name in names:
                path = Path(place, name)
                if path.name != "onnxbuild.json" and path.is_file() and not path.is_symlink():
                    found[str(path.relative_to(self.folder))] = path.read_bytes()
        return found

    def is_whole(self) -> bool:
        """Whether the folder has exactly the content that it describes, for each file that it lists."""
        listed = json.loads((self.folder / "onnxbuild.json").read_bytes())["files"]
        return all(
            blake3((self.folder / name).read_bytes()).hexdigest() == file["blake3"] for name, file in listed.items()
        )

    def beside(self) -> list[str]:
        """What stands in the model's folder."""
        return sorted(os.listdir(self.folder.parent))


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
