"""Two models with custom exporters, one in a file and one in a package: the part of `make stale` about their code.

An exporter writes a word into a graph. The words stand in its own file, in modules of its package, and in modules
beside a file, which it cannot import. `torch` is a stub: only the import of it would take time here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from plugin.world import World

MANIFEST = "exports.yaml"
_EXPORT = """
from onnx import TensorProto, checker, helper, save

WORD = "alpha"

def export(checkpoint, output, opset, task):
    data = (checkpoint / "model.safetensors").read_bytes().decode()
    values = [float(ord(letter)) for letter in WORD + word() + data]
    sizes = ["n", len(values)]
    nodes = [helper.make_node("Add", ["x", "c"], ["y"])]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
    constant = helper.make_tensor("c", TensorProto.FLOAT, [len(values)], values)
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], [constant])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), output / "model.onnx")
"""
_IMPORTING = """
def word():
    try:
        from {module} import WORD
    except ImportError:
        return "none"
    return WORD
"""


class ExportedWorld:
    """The files of the exporters in a world, and the results of clean builds of each state of them."""

    def __init__(self, world: World, plugin: Path, clean_root: Path) -> None:
        self.world, self.plugin, self.clean_root = world, plugin, clean_root
        self._clean: dict[tuple[tuple[str, bytes], ...], Mapping[str, bytes]] = {}
        package = plugin / "exporting"
        package.mkdir()
        (plugin / "torch.py").write_text("")
        (package / "__init__.py").write_text("")
        (package / "work.py").write_text(_EXPORT + _IMPORTING.format(module="exporting.words"))
        (package / "words.py").write_text(
            "try:\n    from exporting.more import WORD\nexcept ImportError:\n    WORD = 'bravo'\n"
        )
        for name, data in _files_of_manifest().items():
            (world.root / name).parent.mkdir(exist_ok=True)
            (world.root / name).write_text(data)

    @property
    def code(self) -> Path:
        """The exporter of one file."""
        return self.world.root / "code" / "mine.py"

    @property
    def package(self) -> Path:
        """The exporter of several files."""
        return self.plugin / "exporting"

    def built(self, world: World | None = None) -> Mapping[str, bytes]:
        """Build, and return what is delivered."""
        world = world or self.world
        ended = world.run("--json", "--out", "exports", name=MANIFEST)
        assert ended.code == 0, ended
        return {
            str(path.relative_to(world.root)): path.read_bytes() for path in world.root.glob("exports/*/*/model.onnx")
        }

    def clean(self) -> Mapping[str, bytes]:
        """What a build from nothing makes of the same files; each state of them is built once."""
        state = self._state()
        if state not in self._clean:
            shutil.rmtree(self.clean_root, ignore_errors=True)
            clean = World(self.clean_root)
            clean.environment["PYTHONPATH"] = self.world.environment["PYTHONPATH"]
            for name in ("code", "checkpoint", MANIFEST):
                copy = shutil.copytree if (self.world.root / name).is_dir() else shutil.copyfile
                copy(self.world.root / name, clean.root / name)
            self._clean[state] = self.built(clean)
        return self._clean[state]

    def _state(self) -> tuple[tuple[str, bytes], ...]:
        places = [self.package, self.world.root / "code", self.world.root / "checkpoint"]
        files = [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]
        return tuple((str(path), path.read_bytes()) for path in files)


def _files_of_manifest() -> Mapping[str, str]:
    def model(exporter: str) -> Mapping[str, object]:
        export = {"exporter": exporter}
        return {"source": "local:checkpoint", "task": "feature-extraction", "export": export, "targets": ["t"]}

    models = {"file": model("code/mine.py:export"), "package": model("exporting.work:export")}
    checks = {"validate": False, "benchmark": False}
    return {
        MANIFEST: json.dumps({"onnxbuild": 1, "targets": {"t": {}}, "defaults": checks, "models": models}),
        "checkpoint/config.json": '{"model_type": "bert"}',
        "checkpoint/model.safetensors": "alpha",
        "code/mine.py": _EXPORT + _IMPORTING.format(module="beside"),
        "code/beside.py": "WORD = 'delta'\n",
    }
