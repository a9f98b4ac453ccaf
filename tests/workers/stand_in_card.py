"""A stand-in for the platform SDK of Cloud AI 100: a `qaic-util` for the PATH, and the modules for Python beside it.

It is as strict as the runtime that `QAICInferenceSession` of Efficient Transformers is written for: one buffer per
binding, each with the bytes of its shape, one of the allowed sets of shapes, and an empty buffer for the cache alone.
What the card computes is computed by the graph in ONNX Runtime. The cache is in here, and nobody else sees it.
"""

from __future__ import annotations

import platform
from pathlib import Path

_RUNTIME = """
import json, math
from pathlib import Path
import numpy as np
import stand_in_card

class QStatus:
    QS_SUCCESS, QS_ERROR, QS_INVAL = "QS_SUCCESS", "QS_ERROR", "QS_INVAL"

def QIDList(ids):
    return list(ids)

class Context:
    def __init__(self, devices=None):
        self.devices = devices

class QBuffer:
    def __init__(self, data):
        assert isinstance(data, bytes)
        self.data, self.size = data, len(data)
    def __bytes__(self):
        return self.data

def BufferDimensionsVecRef(sizes):
    return [(int(width), [int(one) for one in shape]) for width, shape in sizes]

class Qpc:
    def __init__(self, folder):
        self.card = stand_in_card.Card(Path(folder))
    def getIoDescriptor(self):
        return QStatus.QS_SUCCESS, json.dumps(self.card.description()).encode()

class QAicProgramProperties:
    devMapping = ""

class Program:
    running = 0
    def __init__(self, context, device, qpc, properties):
        self.card, self.active = qpc.card, False
        self.devices = len(properties.devMapping.split(":")) if properties.devMapping else 1
    def load(self):
        return QStatus.QS_SUCCESS if self.card.devices == self.devices else QStatus.QS_ERROR
    def activate(self):
        Program.running += 1
        self.active = True
    def deactivate(self):
        Program.running -= 1
        self.active = False

class ExecObj:
    def __init__(self, context, program):
        assert program.active, "an execution of a program that is not active"
        self.card, self.results = program.card, None
    def setData(self, buffers, dimensions):
        self.buffers, self.dimensions = buffers, dimensions
        sizes = [width * math.prod(shape) for width, shape in dimensions]
        return QStatus.QS_SUCCESS if [one.size for one in buffers] == sizes else QStatus.QS_INVAL
    def waitForCompletion(self):
        self.results = self.card.execute([bytes(one) for one in self.buffers], [shape for _, shape in self.dimensions])
        return QStatus.QS_ERROR if self.results is None else QStatus.QS_SUCCESS
    def getData(self):
        return QStatus.QS_SUCCESS, [QBuffer(one) for one in self.results]

class Queue:
    def __init__(self, context, device):
        pass
    def enqueue(self, execution):
        return QStatus.QS_SUCCESS
"""

_API = """
import json
from types import SimpleNamespace

BUFFER_IO_TYPE_INPUT, BUFFER_IO_TYPE_OUTPUT = 0, 1
(FLOAT_TYPE, FLOAT_16_TYPE, INT8_Q_TYPE, UINT8_Q_TYPE, INT16_Q_TYPE, INT32_Q_TYPE, INT32_I_TYPE, INT64_I_TYPE,
 INT8_TYPE) = range(1, 10)

class IoDesc:
    def ParseFromString(self, data):
        read = json.loads(data, object_hook=lambda fields: SimpleNamespace(**fields))
        self.selected_set, self.allowed_shapes = read.selected_set, read.allowed_shapes
"""

_TYPES = {"tensor(float)": (1, 4), "tensor(int64)": (8, 8)}  # the constant of the SDK, and bytes per value


def install(root: Path) -> Path:
    """Write the SDK below `root`; return the folder for the PATH."""
    for name, text in ((f"lib/{platform.machine()}/qaicrt.py", _RUNTIME), ("python/QAicApi_pb2.py", _API)):
        (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).write_text(text)
    (root / "dev/python/stand_in_card.py").write_text(Path(__file__).read_text())
    (root / "tools").mkdir()
    (root / "tools/qaic-util").write_text("#!/bin/sh\nprintf 'QID 0\\n\\tStatus:Ready\\n'\n")
    (root / "tools/qaic-util").chmod(0o755)
    return root / "tools"


class Card:
    """The program of a folder `qpc`, whose stand-in for a binary names the graph beside it."""

    def __init__(self, folder: Path) -> None:
        """Open the graph that the program was compiled from."""
        import hashlib
        import json

        from onnxbuild.workers.compile.qaic.host_double import HostDouble

        graph = folder.parent / "model.onnx"
        made_of = (folder / "programqpc.bin").read_bytes().removeprefix(b"STAND-IN ")
        assert made_of == hashlib.sha256(graph.read_bytes()).hexdigest().encode(), "compiled from another graph"
        self._double = HostDouble(graph, folder.parent)
        settings = json.loads((folder.parent / "qconfig.json").read_text())
        self.devices = settings["qpc_config"]["compiler_config"]["mdp_ts_num_devices"]
        session = self._double._session
        inputs = [(one, True) for one in session.get_inputs()]
        # Outputs first, as no order is promised.
        self._values = [*((one, False) for one in session.get_outputs()), *reversed(inputs)]

    def description(self) -> dict[str, object]:
        """What the SDK's `IoDesc` has."""
        bindings = [
            {"name": one.name, "index": at, "dir": int(not taken), "type": _TYPES[one.type][0], "dims": shape}
            for at, ((one, taken), shape) in enumerate(zip(self._values, self._shapes(0), strict=True))
        ]
        count = len(self._double.specializations)
        kinds = [one["type"] for one in bindings]
        sets = [
            {"shapes": [{"type": kind, "dims": dims} for kind, dims in zip(kinds, self._shapes(of), strict=True)]}
            for of in range(count)
        ]
        return {"selected_set": {"bindings": bindings}, "allowed_shapes": sets if count > 1 else []}

    def execute(self, buffers: list[bytes], shapes: list[list[int]]) -> list[bytes] | None:
        """The bytes of each binding after a run; None for shapes that the program does not have."""
        import numpy as np

        sets = [self._shapes(of) for of in range(len(self._double.specializations))]
        skipped = [self._is_state(one.name) for one, _ in self._values]
        if not any(all(s or a == b for a, b, s in zip(shapes, one, skipped, strict=True)) for one in sets):
            return None
        if any(bool(data) == skip for data, skip in zip(buffers, skipped, strict=True)):
            return None
        feeds = {
            one.name: np.frombuffer(data, np.int64).reshape(shape)
            for (one, taken), data, shape, skip in zip(self._values, buffers, shapes, skipped, strict=True)
            if taken and not skip
        }
        outputs = self._double.run(feeds)
        return [outputs[one.name].tobytes() if one.name in outputs else b"" for one, _ in self._values]

    def _shapes(self, of: int) -> list[list[int]]:
        one = self._double.specializations[of]
        return [list(one.shape(self._dimensions(value))) for value, _ in self._values]

    def _dimensions(self, value: object) -> tuple[int | str, ...]:
        shape = tuple(value.shape)  # type: ignore[attr-defined]
        return ("batch_size", *shape[1:]) if value.name == "logits" else shape  # type: ignore[attr-defined]

    @staticmethod
    def _is_state(name: str) -> bool:
        return name.startswith("past_")
