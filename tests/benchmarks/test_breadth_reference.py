"""What a decoder is compared with where PyTorch's own past contradicts PyTorch."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _parts():
    sys.path[:0] = added = [str(BENCHMARKS), str(BENCHMARKS / "breadth")]
    yield
    for path in added:
        sys.path.remove(path)


class Model:
    """A model that gives one score per step; with its past, another one or none."""

    def __init__(self, alone, with_past):
        self.answers = {False: alone, True: with_past}

    def generate(self, *, use_cache, **_):
        score = self.answers[use_cache]
        if score is None:
            raise RuntimeError("no such pass")
        return SimpleNamespace(sequences=torch.tensor([[int(score)]]), logits=[torch.tensor([[score]])])


@pytest.mark.parametrize(
    ("alone", "with_past", "counts"), [(2.0, 2.0004, 2.0004), (2.0, 3.0, 2.0), (2.0, None, 2.0), (None, 3.0, 3.0)]
)
def test_the_pass_without_a_past_counts_where_the_two_differ(alone, with_past, counts):
    from greedy import reference

    tokens, scores = reference(Model(alone, with_past), {})
    assert tokens.tolist() == [[int(counts)]]
    np.testing.assert_allclose(scores[0], [[counts]])
