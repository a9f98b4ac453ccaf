"""A plugin with one step kind, `toy`, whose worker does in real processes what frameworks do on bad days."""

from __future__ import annotations

from typing import Literal

from onnxbuild.steps.kind import Kind, Params


class ToyParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to do. `tally`: a file that gets a line for every time that this runs."""

    do: Literal[
        "append", "hog", "die", "exit", "hang", "child", "daemon", "fork", "shout", "partial", "garbage", "close",
        "fill", "nothing", "link", "pipe", "not-plain", "scribble", "leak",
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
)
