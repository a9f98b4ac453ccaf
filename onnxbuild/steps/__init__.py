"""The step kinds: what can be asked for. Built-in ones stand in `KINDS`; plugins bring theirs by entry point."""

from __future__ import annotations

from collections.abc import Mapping

from onnxbuild.steps.benchmark import BENCHMARK
from onnxbuild.steps.export import EXPORT
from onnxbuild.steps.fetch import FETCH
from onnxbuild.steps.generate import GENERATE
from onnxbuild.steps.kind import Kind
from onnxbuild.steps.optimize import OPTIMIZE
from onnxbuild.steps.quantize import QUANTIZE
from onnxbuild.steps.validate import VALIDATE

Kinds = Mapping[str, Kind]

# In the order in which things happen.
KINDS: Kinds = {kind.name: kind for kind in (FETCH, EXPORT, OPTIMIZE, QUANTIZE, VALIDATE, BENCHMARK, GENERATE)}
