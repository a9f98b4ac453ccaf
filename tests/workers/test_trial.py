"""What is said of a graph that cannot be run on a sample."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("onnxruntime")

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.workers.inputs.samples import Sample  # noqa: E402
from onnxbuild.workers.validate.compare import Record, Task  # noqa: E402
from onnxbuild.workers.validate.extent import Judge  # noqa: E402
from onnxbuild.workers.validate.trial import Sides, Trial, tried  # noqa: E402

TASK = Task(table="embedding")


def sample(**feeds):
    nothing = np.zeros((1, 0), np.int64)
    return Sample(label="batch 1", feeds=feeds, mask=None, step_ids=nothing, decoder_ids=nothing, rows=1, tokens=0,
                  length=131)  # fmt: skip


class Engine:
    def __init__(self, error=None):
        self._error = error

    def renew(self):
        pass

    def run(self, _stage, _feeds):
        if self._error is not None:
            raise self._error
        return {"last_hidden_state": np.ones((1, 2, 3), np.float32)}


def fails_with(error):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the type is what is tested
        tried(Sides(Engine(), Engine(error), ("forward",)), sample(), TASK)
    return caught.value


def test_a_graph_that_refuses_what_its_reference_takes():
    failure = fails_with(RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Reshape node. Name:'/Reshape_2'")).failure
    assert str(failure.code) == "OBE90"
    assert failure.message == "the graph fails on batch 1, which the reference computes"
    assert failure.notes[0] == ("cause", "[ONNXRuntimeError] : 1 : FAIL : Reshape node. Name:'/Reshape_2'")


@pytest.mark.parametrize(
    "error", [CheckFailed("OBE37", "the graph takes an input"), RuntimeError("CUDA out of memory")]
)
def test_what_is_known_of_an_error_is_kept(error):
    assert fails_with(error) is error


def test_a_reference_that_fails_on_its_own_sample_is_no_unknown_failure():
    raised = RuntimeError("The size of tensor a (65) must match\nthe size of tensor b (785)")
    with pytest.raises(CheckFailed) as caught:
        tried(Sides(Engine(raised), Engine(), ("forward",)), sample(), TASK)
    failure = caught.value.failure
    reason = "RuntimeError: The size of tensor a (65) must match the size of tensor b (785)"
    assert (failure.code, failure.message) == ("OBE84", f"PyTorch fails on batch 1: {reason}")
    known = RuntimeError("CUDA out of memory")
    with pytest.raises(RuntimeError) as caught:
        tried(Sides(Engine(known), Engine(), ("forward",)), sample(), TASK)
    assert caught.value is known


def test_another_length_of_audio_has_no_tokens():
    record = Record(stage="forward", output="logits", where="batch 2", rows=2, values={"max_abs": 0.5})

    class Source:
        inputs = ("input_features",)

    judge = Judge(sides=None, source=Source, task=TASK, thresholds={"max_abs": 1e-3}, usual={})
    found = judge.partly([], [Trial(sample=sample(), records=[record])])
    wanted = "the graph leaves the length of audio free, and fails for another one: `max_abs` is 0.5, above 0.001"
    assert found.message.startswith(wanted)
    assert not found.notes
