"""The lengths that checks run: defaults fit the model and a compiled variant; a written one may be a fault."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from onnxbuild.machine import Machine
from onnxbuild.steps import KINDS
from onnxbuild.steps.benchmark import BENCHMARK, BenchmarkParams
from onnxbuild.steps.generate import GENERATE, GenerateParams
from onnxbuild.steps.kind import Context
from onnxbuild.steps.validate import VALIDATE, ValidateParams

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=4)


def context(positions: int | None, family: str, written: frozenset[str] = frozenset()) -> Context:
    return Context(
        task="text-classification",
        family=family,  # type: ignore[arg-type]
        config={} if positions is None else {"max_position_embeddings": positions},
        precision="fp32",
        previous=("fetch", "export"),
        reference="checkpoint",
        device="cpu",
        machine=MACHINE,
        written=written,
    )


@pytest.mark.parametrize(
    ("positions", "family", "length"),
    [(None, "encoder", 128), (512, "decoder", 128), (128, "encoder", 128), (128, "decoder", 127), (16, "encoder", 16)],
)
def test_the_default_length_fits_the_model(positions: int | None, family: str, length: int) -> None:
    given = context(positions, family)
    params = BENCHMARK.resolve(BenchmarkParams(), given)
    assert params.sequence == (length,)
    assert list(BENCHMARK.check(BenchmarkParams(), given)) == []


def test_a_length_that_was_written_is_kept_and_is_a_fault() -> None:
    given = context(16, "encoder", frozenset({"sequence"}))
    params = BenchmarkParams(sequence=(8, 128))
    assert BENCHMARK.resolve(params, given).sequence == (8, 128)
    (fault,) = BENCHMARK.check(params, given)
    assert (fault.code, fault.message) == ("OB620", "128 tokens do not fit the model's 16 positions")


def compiled_for(backend: str, block: Any, given: Context) -> Context:
    """The context of the checks of a variant that a backend has compiled."""
    kind = KINDS[f"compile-{backend}"]
    params = msgspec.structs.replace(msgspec.convert(block, kind.params), task=given.task)
    return msgspec.structs.replace(given, call_limits=tuple(kind.call_limits(params).items()))


@pytest.mark.parametrize(
    ("backend", "block", "length", "limit"),
    [
        ("openvino", {"bounds": {"sequence_length": "32"}}, 32, "the target's `sequence_length: 32`"),
        ("openvino", {"bounds": {"batch_size": 2, "sequence_length": "1..8"}}, 8, "the target's `sequence_length: 8`"),
        ("openvino", {"bounds": {"batch_size": "2"}}, 64, "the model's 64 positions"),
        ("qnn", {"sequence": 40}, 40, "the target's `sequence: 40`"),
        ("coreml", {"sequence": 24}, 24, "the target's `sequence: 24`"),
        ("tensorrt", {"shapes": {"opt": [1, 16], "max": [8, 30]}}, 30, "the target's `shapes.max: 30`"),
        ("tensorrt", {"options": {"trt_profile_max_shapes": "input_ids:1x30"}}, 64, "the model's 64 positions"),
        ("cuda", {}, 64, "the model's 64 positions"),
    ],
)  # fmt: skip
def test_lengths_fit_a_compiled_variant(backend: str, block: Any, length: int, limit: str) -> None:
    given = compiled_for(backend, block, context(64, "encoder"))
    assert BENCHMARK.resolve(BenchmarkParams(), given).sequence == (length,)
    written = compiled_for(backend, block, context(64, "encoder", frozenset({"sequence"})))
    with_shapes = msgspec.structs.replace(written, written=frozenset({"shapes"}))
    message = f"{length + 1} tokens do not fit {limit}"
    faults = [
        *BENCHMARK.check(BenchmarkParams(sequence=(8, length + 1)), written),
        *VALIDATE.check(ValidateParams(shapes=((2, length + 1),)), with_shapes),
    ]
    assert [(one.code, one.field, one.message) for one in faults] == [
        ("OB620", "sequence", message), ("OB620", "shapes", message),
    ]  # fmt: skip
    assert not list(BENCHMARK.check(BenchmarkParams(sequence=(length,)), written))


def test_a_model_writes_on_behind_the_limit_of_one_call() -> None:
    plain = context(None, "decoder")
    given = compiled_for("openvino", {"bounds": {"sequence_length": "1..5"}}, msgspec.structs.replace(plain, task=None))
    assert BENCHMARK.resolve(BenchmarkParams(), given).sequence == (4,)
    assert not list(GENERATE.check(GenerateParams(prompts=("one two three four five",)), given))
    (fault,) = GENERATE.check(GenerateParams(prompts=("one", "one two three four five six")), given)
    assert (fault.code, fault.severity, fault.field, fault.message) == (
        "OB620", "warning", "prompts", "a prompt of 6 words may not fit the target's `sequence_length: 5`",
    )  # fmt: skip
