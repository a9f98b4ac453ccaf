from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
for module in ("onnxruntime", "transformers"):
    pytest.importorskip(module)

from msgspec import structs  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.workers.inputs.samples import Sample  # noqa: E402
from onnxbuild.workers.validate.compare import Record, Task, aligned, compare, losses, real_rows  # noqa: E402
from onnxbuild.workers.validate.worst import worst_of  # noqa: E402

EMBEDDING, GENERATION = Task(table="embedding"), Task(table="generation")


def sample(mask, *, ids=None, probe=False):
    mask = np.array(mask)
    ids = np.zeros_like(mask) if ids is None else np.array(ids)
    return Sample(
        label="shape 2×3",
        feeds={"input_ids": ids, "attention_mask": mask},
        mask=mask,
        step_ids=ids[:, -1:],
        decoder_ids=ids,
        rows=len(mask),
        tokens=int(mask.sum()),
        probe=probe,
    )


RAGGED = sample([[1, 1, 1], [1, 0, 0]])


def record(rows, *, where="", stage="forward", output="logits", **values):
    return Record(stage=stage, output=output, where=where, rows=rows, values=values)


def test_padding_counts_for_nothing():
    reference = np.ones((2, 3, 4), np.float32)
    variant = reference.copy()
    variant[1, 1:] = np.nan  # what a graph computes for padding does not matter
    (found,) = compare(
        "forward", RAGGED, {"last_hidden_state": reference}, {"last_hidden_state": variant}, task=EMBEDDING
    )
    assert (found.rows, found.values["max_abs"]) == (4, 0.0)


@pytest.mark.parametrize(
    ("name", "stage", "shape", "rows"),
    [
        ("last_hidden_state", "forward", (2, 3, 4), [(4, 4)]),
        ("logits", "forward", (2, 5), [(2, 5)]),
        ("start_logits", "forward", (2, 3), [(1, 3), (1, 1)]),
        ("present.0.key", "prefill", (2, 5, 3, 4), [(4, 20)]),
        ("present.0.key", "decode", (2, 5, 4, 4), [(6, 20)]),
        ("present.0.key", "decode", (2, 5, 6, 4), [(10, 20)]),  # the third step
        ("logits", "decode", (2, 1, 7), [(2, 7)]),
        ("logits", "decoder", (2, 3, 7), [(6, 7)]),  # its own tokens, not those of the padded input
        ("present.0.encoder.key", "decoder", (2, 5, 3, 4), [(4, 20)]),
        ("present.0.decoder.key", "decoder", (2, 5, 3, 4), [(6, 20)]),
        ("last_hidden_state", "forward", (2, 9, 4), [(18, 4)]),  # patches of an image
    ],
)
def test_real_rows(name, stage, shape, rows):
    assert [part.shape for part in real_rows(name, stage, np.zeros(shape), RAGGED)] == rows


def test_another_shape_fails():
    with pytest.raises(CheckFailed) as caught:
        compare("forward", RAGGED, {"logits": np.zeros((2, 5))}, {"logits": np.zeros((2, 4))}, task=EMBEDDING)
    assert str(caught.value) == "OBE04 output `logits` has shape 2×4, the reference 2×5 (shape 2×3)"


def test_a_missing_output_fails_and_a_pooler_may_be_left_out():
    reference = {"last_hidden_state": np.zeros((2, 3, 4)), "pooler_output": np.zeros((2, 4))}
    found = compare("forward", RAGGED, reference, {"last_hidden_state": np.zeros((2, 3, 4))}, task=EMBEDDING)
    assert [r.output for r in found] == ["last_hidden_state"]
    with pytest.raises(CheckFailed) as caught:
        compare("forward", RAGGED, reference, {"pooler_output": np.zeros((2, 4))}, task=EMBEDDING)
    assert str(caught.value) == "OBE04 output `last_hidden_state` is missing (shape 2×3)"


def test_a_reference_that_is_broken_proves_nothing():
    broken = np.full((2, 5), np.nan)
    with pytest.raises(CheckFailed) as caught:
        compare("forward", RAGGED, {"logits": broken}, {"logits": broken}, task=EMBEDDING)
    assert str(caught.value) == (
        "OBE06 the reference returns NaN in output `logits`, shape 2×3: nothing can be compared with it"
    )


def test_shares_are_pooled_and_the_rest_is_not():
    records = [record(1, where="a", top1=0.0, cosine_mean=0.5), record(9, where="b", top1=1.0, cosine_mean=1.0)]
    found = worst_of(records, ())
    assert {metric: (w.value, w.where) for metric, w in found.items()} == {
        "cosine_mean": (0.5, "output `logits`, a"),
        "top1": (0.9, "output `logits` of forward, 10 rows"),
    }


def test_a_stage_does_not_hide_behind_another():
    records = [record(90, stage="prefill", top1=1.0), record(10, stage="decode", top1=0.5)]
    assert worst_of(records, ())["top1"].value == 0.5


def test_perplexity_is_of_real_tokens_each_from_those_before():
    probe = sample([[0, 1, 1], [1, 1, 1]], ids=[[9, 1, 2], [3, 4, 0]], probe=True)
    good = np.zeros((2, 3, 5), np.float32)
    for row, place, target in ((0, 1, 2), (1, 0, 4), (1, 1, 0)):
        good[row, place, target] = 100.0
    found = losses("prefill", probe, good, np.zeros((2, 3, 5), np.float32))
    assert found.reference.tolist() == pytest.approx([0.0, 0.0, 0.0])
    assert found.variant.tolist() == pytest.approx([np.log(5)] * 3)
    assert worst_of([], [found])["perplexity_ratio"].value == pytest.approx(5.0)


def test_what_is_no_probe_has_no_perplexity():
    logits = np.zeros((2, 3, 5), np.float32)
    assert losses("prefill", RAGGED, logits, logits) is None
    assert losses("decode", sample([[1, 1, 1]], probe=True), logits, logits) is None


def test_divergence_is_measured_of_what_generates():
    logits = np.zeros((2, 3, 5), np.float32)
    (found,) = compare("prefill", RAGGED, {"logits": logits}, {"logits": logits}, task=GENERATION)
    assert found.values["kl_mean"] == 0.0


def test_outputs_of_unknown_names_are_those_of_their_shape_in_order():
    reference = {"logits.0": np.zeros((2, 9, 13)), "logits.1": np.ones((2, 9, 57)), "logits.2": np.full((2, 9, 57), 2)}
    variant = {"char": np.zeros((2, 9, 13)), "bpe": np.zeros((2, 9, 57)), "wp": np.zeros((2, 9, 57))}
    found = aligned(reference, variant)
    assert [found[name].flat[0] for name in ("char", "bpe", "wp")] == [0, 1, 2]


@pytest.mark.parametrize("name", ["logits", "last_hidden_state"])
def test_an_output_that_a_task_needs_stands_for_no_other(name):
    found = aligned({name: np.zeros((2, 3))}, {"scores": np.zeros((2, 3))})
    assert "scores" not in found


def test_an_output_of_another_shape_stands_for_none():
    assert "scores" not in aligned({"values": np.zeros((2, 3))}, {"scores": np.zeros((2, 4))})


def test_classes_of_tokens_are_not_a_vocabulary():
    probe = sample([[1, 1, 1], [1, 1, 1]], ids=[[8, 9, 7], [5, 6, 7]], probe=True)
    assert losses("forward", probe, np.zeros((2, 3, 4)), np.zeros((2, 3, 4))) is None


def test_labels_of_audio_frames_predict_no_tokens():
    probe = structs.replace(sample([[1, 1, 1]], probe=True), feeds={"input_features": np.zeros((1, 3, 2))})
    assert losses("forward", probe, np.zeros((1, 3, 4)), np.zeros((1, 3, 4))) is None


def test_padded_frames_of_a_spectrum_are_left_out_also_where_the_model_makes_fewer():
    mask = np.array([[1] * 60, [1] * 36 + [0] * 24])
    feeds = {"input_features": np.zeros((2, 60, 16)), "attention_mask": mask}
    heard = structs.replace(RAGGED, feeds=feeds, mask=None)
    frames = np.arange(2 * 8 * 3).reshape(2, 8, 3)
    (rows,) = real_rows("logits", "forward", frames, heard)
    assert rows.tolist() == [*frames[0].tolist(), *frames[1, :4].tolist()]


@pytest.mark.parametrize(
    ("left_out", "kept"),
    [("pred_boxes", "logits"), ("masks_queries_logits", "class_queries_logits"), ("text_embeds", "last_hidden_state")],
)
def test_a_variant_without_half_of_its_task_is_no_variant(left_out, kept):
    """A detector has to say where, and a model of texts has to give their vectors."""
    both = {kept: np.ones((2, 3, 4), np.float32), left_out: np.ones((2, 3, 4), np.float32)}
    with pytest.raises(CheckFailed, match=f"OBE04 output `{left_out}` is missing"):
        compare("forward", RAGGED, both, {kept: both[kept]}, task=Task(table="classification"))


def test_an_output_that_has_another_name_is_not_missing():
    both = {"logits": np.ones((2, 3, 4), np.float32), "pred_boxes": np.ones((2, 3, 2), np.float32)}
    variant = {"logits": both["logits"], "boxes": both["pred_boxes"]}
    found = compare("forward", RAGGED, both, variant, task=Task(table="classification"))
    assert [one.output for one in found] == ["logits", "boxes"]
