"""What a decoder is compared with where PyTorch's own past contradicts PyTorch."""

from types import SimpleNamespace

import pytest
from breadth_parts import parts  # noqa: F401 - a fixture of every test here

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")


class Model:
    """A model that gives one score per step; with its past, another one or none."""

    def __init__(self, alone, with_past, *, translates=False):
        self.answers = {False: alone, True: with_past}
        self.config = SimpleNamespace(is_encoder_decoder=translates)

    def forward(self, **_):
        """The plain pass, whose parameters are looked at."""

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


def test_a_rounded_model_is_compared_with_its_past_as_its_graph_is():
    """It rounds by the range of each call: Falcon H1 alone is 0.17 from its graph, and 0.05 with its past."""
    from greedy import reference

    model = Model(2.0, 2.0)
    model.config.name_or_path = "falcon"
    reference(model, {})  # exact, and in agreement
    model.answers, model.is_rounded = {False: 2.0, True: 5.0}, True
    np.testing.assert_allclose(reference(model, {})[1][0], [[5.0]])
    del model.is_rounded
    reference(model, {})  # exact, and in contradiction with itself
    model.is_rounded = True
    np.testing.assert_allclose(reference(model, {})[1][0], [[2.0]])


def test_a_rounded_model_reads_a_whole_text_where_its_graph_has_no_past():
    from greedy import reference

    model = Model(2.0, 5.0)
    model.config.name_or_path = "zamba"
    model.is_rounded = True
    np.testing.assert_allclose(reference(model, {}, has_past=False)[1][0], [[2.0]])
    np.testing.assert_allclose(reference(model, {}, has_past=True)[1][0], [[5.0]])


PROMPT = 2


class Plain(Model):
    """A model whose plain pass scores each token by its place and by how many tokens are not hidden."""

    def generate(self, **given):
        given = super().generate(**given)
        tokens = torch.arange(10, 10 + PROMPT + len(STEPS)).tile(2, 1)
        return SimpleNamespace(sequences=tokens, logits=given.logits)

    def __call__(self, *, attention_mask, input_ids=None, decoder_input_ids=None, use_cache=None):
        if decoder_input_ids is not None and use_cache is not False:
            decoder_input_ids = decoder_input_ids[:, -1:].expand_as(decoder_input_ids)  # as FSMT reads with a cache
        tokens = input_ids if input_ids is not None else decoder_input_ids
        return SimpleNamespace(logits=(tokens + 100 * attention_mask.sum(dim=1, keepdim=True))[:, :, None].float())


class Asking(Plain):
    def forward(self, *, input_ids, attention_mask, perm_mask=None, target_mapping=None):
        """XLNet's."""


STEPS = range(6)
MASK = {"attention_mask": torch.tensor([[0, 1], [1, 1]])}


def test_an_encoder_decoder_that_contradicts_itself_is_compared_with_its_plain_pass():
    from greedy import reference

    _, scores = reference(Plain(2.0, 3.0, translates=True), MASK)
    assert [step.ravel().tolist() for step in scores] == [[111.0 + step, 211.0 + step] for step in STEPS]
    assert len(reference(Plain(2.0, 2.0, translates=True), MASK)[1]) == 1


def test_a_model_that_generates_by_other_inputs_is_compared_with_its_plain_passes():
    from greedy import reference

    _, scores = reference(Asking(2.0, 2.0), MASK)
    tokens = [11.0 + step for step in STEPS]  # the last one of each pass
    hidden = [100 * (1 + step) for step in STEPS]
    assert [step.ravel().tolist() for step in scores] == [
        [token + more, token + more + 100] for token, more in zip(tokens, hidden, strict=True)
    ]


@pytest.mark.parametrize("proof", ["m/fp32:validate", "m/int8:validate-fp32"])
def test_a_quantized_variant_is_refused_with_what_it_was_made_from(tmp_path, proof):
    """Its folder may hold an earlier build, which was compared in its place."""
    from builds import Batch, Outcome, Places

    batch = Batch(Places(tmp_path, tmp_path / "store"), [], ["fp32", "int8", "q4"], 1)
    failure = {"code": "OBE86", "message": "the graph holds up to 127 tokens"}
    done = {"outcome": "built"}
    ended = {"m:export": done, "m/int8:validate": done, "m/q4:validate": done, "n/fp32:validate": done,
             proof: {"outcome": "failed", "failure": failure}}  # fmt: skip
    for variant in ("int8", "q4"):
        assert batch._outcome("m", variant, ended) == Outcome(None, "OBE86", "the graph holds up to 127 tokens")
    assert batch._outcome("n", "int8", ended) == Outcome(tmp_path / "out" / "n" / "int8")
