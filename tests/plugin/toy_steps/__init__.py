"""A plugin with one step kind, `toy`, whose worker does in real processes what frameworks do on bad days."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.kind import Kind, Params


class ToyParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to do. `tally`: a file that gets a line for every time that this runs. `number`: also the size claimed."""

    do: Literal[
        "append", "hog", "die", "exit", "hang", "child", "daemon", "fork", "shout", "partial", "garbage", "close",
        "fill", "nothing", "link", "pipe", "not-plain", "scribble", "leak", "note",
    ] = "append"  # fmt: skip
    text: str = ""
    seconds: float = 0.0
    number: int = 0
    tally: str = ""


TOY = Kind(
    name="toy",
    version=1,
    params=ToyParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="toy_steps.work:run",
    pure=True,
    resumes=lambda params: params["do"] == "note",
    # A text that is the name of a precision says that the graph is in it.
    precision_after=lambda params, context: params.text if params.text in {"fp16", "int8"} else context.precision,
)


class DamageParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Change one weight of a graph by a factor."""

    factor: float


DAMAGE = Kind(
    name="damage",
    version=1,
    params=DamageParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="toy_steps.damage:run",
    packages=lambda _params: ("onnx",),
    pure=True,
)


class StrangerParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Run Python code."""

    code: str = ""
    text: str = ""


def _stranger(name: str, **more: Any) -> Kind:
    ports = {"model": "onnx"}
    return Kind(name=name, version=1, params=StrangerParams, inputs=ports, outputs=ports,
                worker="toy_steps.stranger:run", **more)  # fmt: skip


# The same worker under three declarations: nothing is declared, it is pure, it is pure and needs the network.
STRANGER = _stranger("stranger")
FRIEND = _stranger("friend", pure=True)
MESSENGER = _stranger("messenger", pure=True, network=lambda _params: True)
# Not pure, with the network.
COURIER = _stranger("courier", network=lambda _params: True)
HERALD = _stranger("herald", pure=True, warms=("wave",))


class ReaderParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Append the rows of a dataset."""

    DERIVED: ClassVar[tuple[str, ...]] = ("rows",)

    dataset: str
    rows: Rows = Rows()


READER = Kind(
    name="reader",
    version=1,
    params=ReaderParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="toy_steps.reader:run",
    pure=True,
)
