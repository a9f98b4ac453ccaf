"""Samples of any shape in a program of one shape: what comes back is what the program computes for each row."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage, CompilerOfRecord, StageInput
from onnxbuild.workers.compile.fixed_graphs import sizes_of
from onnxbuild.workers.engines.compiled.fixed_shapes import FixedShapes, RanAs
from onnxbuild.workers.engines.compiled.openvino_engine import OpenvinoModel

SHAPES = FixedShapes({"rows": 2, "tokens": 5}, "rows")
INPUT = StageInput(("rows", "tokens"), "tensor(int64)")
OUTPUTS = {"doubled": ("rows", "tokens", 3), "sum": ("rows", 1)}
STAGE = CompiledStage(file="f", inputs={"ids": INPUT, "mask": INPUT}, outputs=OUTPUTS)


def program(feeds):
    assert {name: value.shape for name, value in feeds.items()} == {"ids": (2, 5), "mask": (2, 5)}
    ids = feeds["ids"] * feeds["mask"]
    return [np.repeat(2 * ids[..., None], 3, axis=2), ids.sum(axis=1, keepdims=True)]


@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (2, 5), (3, 4), (7, 3)])
def test_rows_go_in_groups_and_padding_is_cut(rows, tokens):
    ids = np.arange(1, rows * tokens + 1).reshape(rows, tokens)
    doubled, total = SHAPES.around(program, STAGE)({"ids": ids, "mask": np.ones_like(ids)})
    assert np.array_equal(doubled, np.repeat(2 * ids[..., None], 3, axis=2))
    assert np.array_equal(total, ids.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("rows", "tokens", "ran"),
    [
        (2, 5, None),
        (1, 5, RanAs(batch=2, sequence=5, calls=1)),
        (2, 3, RanAs(batch=2, sequence=5, calls=1)),
        (7, 3, RanAs(batch=2, sequence=5, calls=4)),
    ],
)
def test_how_a_sample_is_run_is_what_the_program_gets(rows, tokens, ran):
    ids = np.ones((rows, tokens), np.int64)
    calls = []
    SHAPES.around(lambda feeds: calls.append(feeds["ids"].shape) or program(feeds), STAGE)({"ids": ids, "mask": ids})
    assert SHAPES.ran_as(STAGE, {"ids": ids, "mask": ids}) == ran
    assert calls == ([(2, 5)] * (ran.calls if ran else 1))


def test_only_the_length_of_a_free_batch_is_filled_up():
    ids = np.ones((7, 3), np.int64)
    assert FixedShapes({"tokens": 5}, "rows").ran_as(STAGE, {"ids": ids}) == RanAs(batch=7, sequence=5, calls=1)


def test_a_dimension_without_a_size_stays_free():
    shapes = FixedShapes({"tokens": 5}, "rows")
    seen = []

    def free(feeds):
        seen.append(feeds["ids"].shape)
        return [np.repeat(feeds["ids"][..., None], 3, axis=2), feeds["ids"].sum(axis=1, keepdims=True)]

    ids = np.arange(1, 22).reshape(7, 3)
    doubled, total = shapes.around(free, STAGE)({"ids": ids, "mask": np.ones_like(ids)})
    assert seen == [(7, 5)]
    assert (doubled.shape, total.tolist()) == ((7, 3, 3), ids.sum(axis=1, keepdims=True).tolist())


def test_a_shorter_row_is_refused_where_no_mask_hides_its_padding():
    stage = CompiledStage(file="f", inputs={"ids": INPUT}, outputs=OUTPUTS)
    with pytest.raises(CheckFailed) as caught:
        SHAPES.around(program, stage)({"ids": np.ones((2, 4), np.int64)})
    assert caught.value.failure.message == "a sample has 4 in `tokens`, and the variant is compiled for 5"
    assert "takes no mask" in caught.value.failure.notes[0][1]


def test_a_longer_row_is_refused():
    ids = np.ones((1, 6), np.int64)
    with pytest.raises(CheckFailed) as caught:
        SHAPES.around(program, STAGE)({"ids": ids, "mask": ids})
    assert caught.value.failure.code == "OBE251"
    assert "6 in `tokens`" in caught.value.failure.message


def taking(*shape):
    value = helper.make_tensor_value_info("ids", TensorProto.INT64, shape)
    return helper.make_model(helper.make_graph([], "g", [value], []))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 16), "`ids` has 16 in dimension 1, and the variant is to have 128"),
        (("rows", None), "dimension 1 of `ids` has neither a size nor a name"),
        (("rows", 3, 7, None), "dimension 3 of `ids` has neither a size nor a name"),
        (("batch", "batch"), "`ids` calls rows and tokens by one name, `batch`"),
    ],
)
def test_a_dimension_that_cannot_have_its_size_is_refused(shape, words):
    with pytest.raises(CheckFailed) as caught:
        sizes_of(taking(*shape), batch=1, sequence=128)
    assert (caught.value.failure.code, caught.value.failure.message) == ("OBE238", words)


def test_a_graph_that_has_the_sizes_already_is_taken_and_its_rows_have_no_longest():
    sizes = sizes_of(taking(1, 128), batch=1, sequence=128)
    assert sizes == {}
    assert FixedShapes(sizes, "").longest is None
    assert SHAPES.longest == 5
    assert sizes_of(taking("rows", 3, 7, 7), batch=4, sequence=128) == {"rows": 4}


def test_bounds_of_openvino_limit_samples_and_refuse_others():
    record = CompiledRecord(
        backend="openvino", state="compiled", compiler=CompilerOfRecord(name="openvino"), device="CPU",
        stages={"forward": STAGE}, settings={"bounds": {"rows": "1..2", "tokens": "2..5"}},
    )  # fmt: skip
    model = OpenvinoModel.__new__(OpenvinoModel)
    model.record = record
    assert model.longest == 5
    assert model.ran_as("forward", {name: np.ones((2, 3)) for name in ("ids", "mask")}) is None
    call = model._within(lambda feeds: [feeds["ids"]], STAGE)
    assert call({name: np.ones((2, 5)) for name in ("ids", "mask")})[0].shape == (2, 5)
    for shape in ((3, 4), (1, 6), (1, 1)):
        with pytest.raises(CheckFailed) as caught:
            call({name: np.ones(shape) for name in ("ids", "mask")})
        assert caught.value.failure.code == "OBE251"


def test_an_axis_of_a_single_size_says_how_a_sample_is_run():
    record = CompiledRecord(
        backend="openvino", state="compiled", compiler=CompilerOfRecord(name="openvino"), device="CPU",
        stages={"forward": STAGE}, settings={"bounds": {"tokens": "5"}},
    )  # fmt: skip
    model = OpenvinoModel.__new__(OpenvinoModel)
    model.record = record
    feeds = {name: np.ones((7, 3)) for name in ("ids", "mask")}
    assert model.ran_as("forward", feeds) == RanAs(batch=7, sequence=5, calls=1)
