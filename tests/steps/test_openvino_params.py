"""What lint refuses of `compile: openvino`, what is in its key, and the sizes that a config names."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from onnxbuild.machine import Machine
from onnxbuild.steps.compiling.openvino_backend import OPENVINO, OpenvinoParams, range_of
from onnxbuild.steps.kind import Context
from onnxbuild.tables.compiling.inner_sizes import inner_sizes

MACHINE = Machine(cpu="Toy", architecture="x86_64", flags=("avx2",), cores=2)


def context(task: str, family: Any, written: Any, config: Any = None) -> Context:
    return Context(
        task=task, family=family, config=config, precision="fp32", previous=("export",), reference="checkpoint",
        device="cpu", machine=MACHINE, written=frozenset(written),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"subject_to": {"cosine_mean": ">= 0.99"}}, "OB805 subject_to `subject_to` has no effect without"),
        ({"weights": "int8", "calibration": "mean"}, "OB805 calibration `calibration` has no effect without"),
        ({"quantize": "int8", "subject_to": {"cosine_mean": "<= 0.99"}}, "OB667 subject_to `cosine_mean` expects a"),
        ({"quantize": "int8", "subject_to": {"perplexity_ratio": "<= 1.1"}}, "OB667 subject_to `perplexity_ratio` is"),
        (
            {"bounds": {"sequence_length": "0"}},
            "OB806 bounds `sequence_length: 0` is neither a range of sizes nor a single size",
        ),
        ({"bounds": {"sequence_length": "71"}}, "OB620 bounds 71 tokens do not fit the model's 70 positions"),
        ({"weights": "int4", "group_size": 7}, "OB807 group_size `group_size: 7` does not divide `hidden_size: 48`"),
        ({"weights": "int4"}, "OB807 weights `group_size: 128`, the default, does not divide `hidden_size: 48`"),
        ({"quantize": "int8", "calibration": "mean", "subject_to": {"top1": ">= 0.9"}}, None),
        ({"bounds": {"sequence_length": "70", "batch_size": "3"}}, None),
    ],
)
def test_refused(block: Any, expected: str | None) -> None:
    config = {"hidden_size": 48, "max_position_embeddings": 70}
    found = list(OPENVINO.check(msgspec.convert(block, OpenvinoParams), context("fill-mask", "encoder", block, config)))
    shown = [f"{one.code} {one.field} {one.message}" for one in found]
    assert [one.startswith(expected or "") for one in shown] == ([] if expected is None else [True])


@pytest.mark.parametrize(
    ("task", "config", "code"),
    [
        ("image-classification", None, "OB804"),
        ("feature-extraction", {"image_size": 30}, "OB804"),  # only its config tells
        ("feature-extraction", {"vocab_size": 97}, None),
    ],
)
def test_int8_needs_a_model_that_reads_text(task: str, config: Any, code: str | None) -> None:
    given = context(task, "encoder", {"quantize"}, config)
    found = [one.code for one in OPENVINO.check(OpenvinoParams(quantize="int8"), given)]
    assert found == ([] if code is None else [code])
    assert not list(OPENVINO.check(OpenvinoParams(weights="int8"), given))


def test_only_int8_has_its_calibration_in_the_key() -> None:
    given = context("fill-mask", "encoder", ())
    assert OPENVINO.resolve(OpenvinoParams(), given).calibration is UNSET
    assert OPENVINO.resolve(OpenvinoParams(weights="int4"), given).calibration is UNSET
    assert OPENVINO.resolve(OpenvinoParams(quantize="int8"), given).calibration == "minmax"
    assert OPENVINO.resolve(OpenvinoParams(quantize="int8", calibration="mean"), given).calibration == "mean"


def test_a_size_that_is_a_number_is_the_same_size() -> None:
    given = context("fill-mask", "encoder", {"bounds"}, {"max_position_embeddings": 70})
    number, text = (OpenvinoParams(bounds={"sequence_length": one}) for one in (33, "33"))
    assert OPENVINO.resolve(number, given) == OPENVINO.resolve(text, given) == text
    faults = (OPENVINO.check(OpenvinoParams(bounds={"sequence_length": size}), given) for size in (71, 0, -3))
    assert [one.code for found in faults for one in found] == ["OB620", "OB806", "OB806"]


def test_a_single_size_is_both_ends() -> None:
    assert (range_of("3..17"), range_of("128")) == ((3, 17), (128, 128))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, {}),
        ({"n_embd": 48, "n_inner": None}, {"n_embd": 48}),
        ({"d_model": 40, "d_ff": 96, "num_heads": 3, "d_kv": 7}, {"d_model": 40, "d_ff": 96, "num_heads × d_kv": 21}),
        ({"hidden_size": 99, "text_config": {"hidden_size": 64, "num_attention_heads": 5, "head_dim": 24}},
         {"hidden_size": 64, "num_attention_heads × head_dim": 120}),
    ],
)  # fmt: skip
def test_sizes_of_a_config(config: Any, expected: dict[str, int]) -> None:
    assert inner_sizes(config) == expected
