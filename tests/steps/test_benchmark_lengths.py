"""The lengths that a benchmark times: the default fits the model, and a written length that does not is a fault."""

from __future__ import annotations

import pytest

from onnxbuild.machine import Machine
from onnxbuild.steps.benchmark import BENCHMARK, BenchmarkParams
from onnxbuild.steps.kind import Context

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
