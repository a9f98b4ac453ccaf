"""Every family in every precision: made from its export, compared with PyTorch, and opened by its users' loader."""

from __future__ import annotations

import json

import pytest

for module in ("torch", "optimum.onnxruntime", "sentence_transformers"):
    pytest.importorskip(module)

from families import run_step, scratch  # noqa: E402
from family_table import FAMILIES, Family  # noqa: E402
from test_families import checkpoint_of, exported, loads, table_for  # noqa: E402

from onnxbuild.steps.kind import Params  # noqa: E402
from onnxbuild.steps.precision import PrecisionParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.tasks import family_of, reads_text_rows  # noqa: E402
from onnxbuild.tables.thresholds import THRESHOLDS  # noqa: E402
from onnxbuild.workers.inputs.sentences import SENTENCES  # noqa: E402
from onnxbuild.workers.precision import worker as precision  # noqa: E402
from onnxbuild.workers.quantize import worker as quantize  # noqa: E402
from onnxbuild.workers.validate import worker as validate  # noqa: E402

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]

HALF = PrecisionParams(dtype="fp16")
STATIC = QuantizeParams(method="static", preset="avx512_vnni", dataset="d", samples=16)

# Name → the steps, and the least mean cosine of any output: two layers of random weights are not robust to rounding.
RECIPES: dict[str, tuple[tuple[Params, ...], float]] = {
    "fp16": ((HALF,), 0.9995),
    "fp16, overflow sought": ((PrecisionParams(dtype="fp16", keep_fp32="auto"),), 0.9995),
    "8 bit": ((QuantizeParams(method="weight-only", bits=8),), 0.995),
    "nf4": ((QuantizeParams(method="weight-only", algorithm="nf4", block_size=16),), 0.8),
    "q4f16": ((QuantizeParams(method="weight-only"), HALF), 0.8),
    "static int8": ((STATIC,), 0.95),
}
FIRST_HEADS = {family.name: family for family in FAMILIES if family.first}


def is_defined(family: Family, recipe: str) -> bool:
    """Static int8 is calibrated with text, and does not reach into a merged decoder; lint says both."""
    if recipe != "static int8":
        return True
    return reads_text_rows(family.task) and family_of(family.task) != "encoder-decoder"


@pytest.fixture(scope="module")
def rows():
    folder = scratch()
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    return folder


@pytest.mark.parametrize(
    ("name", "recipe"),
    [(name, recipe) for name in FIRST_HEADS for recipe in RECIPES if is_defined(FIRST_HEADS[name], recipe)],
)
def test_a_family_in_a_precision(name, recipe, rows):
    family, checkpoint, model = FIRST_HEADS[name], checkpoint_of(name), exported(name)
    steps, least = RECIPES[recipe]
    for params in steps:
        worker = quantize if isinstance(params, QuantizeParams) else precision
        data = {"dataset": rows} if params == STATIC else {}
        before = model
        facts, model = run_step(worker.run, params, model=before, **data)
        assert facts["ran"] is True
        assert facts["bytes"] < facts["bytes_before"]
    bounds = {"cosine_mean": least, **(THRESHOLDS[table_for(family)]["fp16"] if recipe.startswith("fp16") else {})}
    validation = ValidateParams(task=family.task, precision={"nf4": "bnb4"}.get(recipe, recipe), thresholds=bounds)
    run_step(validate.run, validation, ports="report", model=model, reference=checkpoint)
    loads(model, checkpoint, family, exact=False)
