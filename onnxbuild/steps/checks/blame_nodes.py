"""blame: compares the tensors of two graphs, node by node, to show which nodes of a step cost accuracy.

No manifest asks for it, so it is not in `KINDS`: the command `blame` adds it to a plan.
"""

from __future__ import annotations

from typing import ClassVar

from onnxbuild.steps.dataset_rows import DerivedRows, Rows, RowSeed, Samples, Sequence
from onnxbuild.steps.kind import Kind, OpeningParams


class BlameParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which rows both graphs read: those of the validation's dataset, or the sentences that come with onnxbuild."""

    # What it has in common with the validation of the variant.
    SHARED: ClassVar[tuple[str, ...]] = ("seed", "rows", "trust_remote_code")

    samples: Samples = 8
    sequence: Sequence = 64
    seed: RowSeed = 0
    rows: DerivedRows = Rows()


BLAME = Kind(
    name="blame",
    version=1,
    params=BlameParams,
    inputs={"before": "onnx", "after": "onnx"},
    outputs={"report": "report"},
    worker="onnxbuild.workers.blame.worker:run",
    pure=True,
    packages=lambda _params: ("onnxruntime", "onnx", "transformers"),
    memory_factor=5.0,
)
