"""Where a variant for CUDA is validated: on CUDA, or on a machine without it, as far as the CPU can run it."""

from __future__ import annotations

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from families import checkpoint, exported, run_step  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.precision import PrecisionParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.workers.precision import worker as precision  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here"),
]


def on_cuda(model, precision="fp32"):
    params = ValidateParams(task="text-classification", precision=precision, device="cuda", thresholds={"top1": 0.5})
    return run_step(run, params, ports="report", model=model, reference=checkpoint("bert"))[0]


def test_a_variant_for_cuda_is_validated_on_the_cpu_where_there_is_none_and_says_so():
    facts = on_cuda(exported("bert")[1])
    warning = facts["warnings"][0]
    assert warning.startswith("validated on the CPU, which has other kernels: CUDAExecutionProvider is not in this ")
    assert set(facts["providers"]) == {"CPUExecutionProvider"}


def test_what_no_device_here_can_run_is_not_validated():
    _, half = run_step(precision.run, PrecisionParams(dtype="bf16"), model=exported("bert")[1])
    with pytest.raises(CheckFailed, match="the CPU has no kernels for it") as caught:
        on_cuda(half, "bf16")
    assert caught.value.failure.code == "OBE43"
    assert "validate: false" in dict(caught.value.failure.notes)["hint"]


def test_the_words_of_a_graph_in_bf16_are_compared_wherever_it_runs():
    """NumPy has no bf16, so the table is read in fp32; a bf16 number has 8 bits, so a row is off by 0.4 % at most."""
    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.validate.sanity import every_token

    _, half = run_step(precision.run, PrecisionParams(dtype="bf16"), model=exported("bert")[1])
    table = every_token.word_table(half / "model.onnx")
    rows = np.concatenate(list(every_token._rows(every_token._opened(table, 1))))
    full = OnnxModel(exported("bert")[1], threads=1)
    wanted = every_token._of_graph(full, every_token._TABLES[0])
    assert rows.dtype == wanted.dtype == np.float32
    assert rows.shape == wanted.shape
    assert 0 < np.abs(rows - wanted).max() <= 2**-8 * np.abs(wanted).max()
