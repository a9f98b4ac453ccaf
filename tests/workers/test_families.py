"""Every family from a config to the library that its users load it with, as `family_table` lists them."""

from __future__ import annotations

import pytest

for module in ("torch", "optimum.onnxruntime", "sentence_transformers"):
    pytest.importorskip(module)

import numpy as np  # noqa: E402
from families import contents, run_step, text_folder  # noqa: E402
from family_loaders import LOADERS  # noqa: E402
from family_table import FAMILIES, TOKENS, Family  # noqa: E402

from onnxbuild.steps.export import ExportParams  # noqa: E402
from onnxbuild.steps.fetch import FetchParams  # noqa: E402
from onnxbuild.steps.optimize import OptimizeParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.steps.tasks import is_ctc  # noqa: E402
from onnxbuild.steps.validate import THRESHOLDS, ValidateParams, table_of  # noqa: E402
from onnxbuild.workers import export, fetch, optimize, quantize, validate  # noqa: E402

# transformers' pipelines hand tensors to numpy the old way, and warn of defaults that nobody here relies on.
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]

# Two layers of random weights decide nearly nothing, so of a quantized one the numbers are bounded, not the choices.
LOOSE = {"int8": {"cosine_mean": 0.97}, "q4": {"cosine_mean": 0.8}}


def checked(model, reference, family: Family, precision="fp32"):
    table = "classification" if is_ctc(family.task, {"model_type": family.architecture}) else table_of(family.task)
    bounds = LOOSE.get(precision) or THRESHOLDS[table]["fp32"]
    params = ValidateParams(task=family.task, precision=precision, thresholds=bounds)
    return run_step(validate.run, params, ports="report", model=model, reference=reference)[0]


def loads(folder, checkpoint, family: Family, *, exact):
    found, wanted = LOADERS[family.loader](folder, checkpoint)
    assert np.shape(found) == np.shape(wanted) or not exact
    if exact and np.asarray(wanted[0]).dtype.kind != "i":
        np.testing.assert_allclose(np.asarray(found, np.float32), np.asarray(wanted, np.float32), atol=1e-3)
    elif exact:
        assert found == wanted
    else:
        assert np.isfinite(np.concatenate([np.ravel(one) for one in found]).astype(np.float32)).all()


def checkpoint_of(family: Family):
    params = FetchParams(
        origin="random",
        architecture=family.architecture,
        task=family.made_for or family.task,
        config=dict(family.config),
        tokenizer_vocabulary=TOKENS if family.words else 0,
    )
    return run_step(fetch.run, params, text=text_folder())[1]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_from_its_config_to_its_loader(family):
    checkpoint = checkpoint_of(family)
    as_asked = ExportParams(task=family.task, library=family.library)
    _, exported = run_step(export.run, as_asked, model=checkpoint)
    facts = checked(exported, checkpoint, family)
    assert facts["metrics"]["max_abs"] < 1e-4
    assert facts["samples"]["rows"] >= 6
    loads(exported, checkpoint, family, exact=True)
    if family.optimize:
        _, optimized = run_step(optimize.run, OptimizeParams(level=family.optimize), model=exported)
        checked(optimized, checkpoint, family)
        loads(optimized, checkpoint, family, exact=True)
    for method in family.quantize:
        params = QuantizeParams(method=method, preset="avx512_vnni")
        quantized_facts, quantized = run_step(quantize.run, params, model=exported)
        assert quantized_facts["quantized"] > 0
        checked(quantized, checkpoint, family, {"dynamic": "int8", "weight-only": "q4"}[method])
        loads(quantized, checkpoint, family, exact=False)
    if family.optimize or family.quantize:
        _, again = run_step(export.run, as_asked, model=checkpoint)
        differing = {name for name, digest in contents(exported).items() if contents(again).get(name) != digest}
        assert differing == set(family.varies)
