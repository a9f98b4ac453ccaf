import csv
import json

import numpy as np
import onnx
import pytest
from families import contents, exported, generated_by, outputs_of, run_step, scratch

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.quantize import ModuleParams, QuantizeParams
from onnxbuild.workers.calibrate.clip import clipped_by_entropy, clipped_by_percentile
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.quantize.file_params import params_by_file
from onnxbuild.workers.quantize.gptq import _rounded
from onnxbuild.workers.quantize.worker import run

pytestmark = pytest.mark.heavy

STATIC = {"method": "static", "preset": "avx512_vnni", "dataset": "d", "samples": 8}


def dataset(rows=SENTENCES, column="text"):
    folder = scratch()
    (folder / "rows.jsonl").write_text("".join(json.dumps({column: row}) + "\n" for row in rows))
    return folder


def cosine(left, right):
    left, right = left.ravel(), right.ravel()
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


@pytest.mark.parametrize("activations", [8, 16])
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_static_int8(architecture, activations):
    params = QuantizeParams(**STATIC, activations=activations)
    facts, folder = run_step(run, params, model=exported(architecture)[1], dataset=dataset())
    file = facts["files"]["model.onnx"]
    # A decoder is fed without and with a past, so each row counts twice.
    assert file["calibration"]["samples"] == (16 if architecture == "gpt2" else 8)
    assert file["quantized"]["MatMul"] == (9 if architecture == "gpt2" else 14)
    before, after = (outputs_of(path / "model.onnx")[0] for path in (exported(architecture)[1], folder))
    assert cosine(before, after) > (0.999 if activations == 16 else 0.97)


def test_a_format_of_rows_changes_nothing():
    """The same text as JSON lines, CSV and Parquet, in another column and next to one that nobody reads."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"id": number, "review": text} for number, text in enumerate(SENTENCES)]
    written = {name: scratch() / f"rows.{name}" for name in ("jsonl", "csv", "parquet")}
    written["jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    with written["csv"].open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "review"])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pa.Table.from_pylist(rows), written["parquet"], row_group_size=7)
    params = QuantizeParams(**STATIC, rows=Rows(columns={"text": "review"}))
    made = {
        name: contents(run_step(run, params, model=exported("bert")[1], dataset=path.parent)[1])["model.onnx"]
        for name, path in written.items()
    }
    assert len(set(made.values())) == 1


def test_a_parquet_file_that_is_none():
    folder = scratch()
    (folder / "rows.parquet").write_text("no parquet")
    with pytest.raises(CheckFailed, match=r"OBE58 rows\.parquet cannot be read: "):
        run_step(run, QuantizeParams(**STATIC), model=exported("bert")[1], dataset=folder)


def test_each_calibration_gives_other_ranges():
    kinds = ("minmax", "entropy", "percentile")
    made = {
        kind: run_step(
            run,
            QuantizeParams(**STATIC, calibration=kind, percentile=99.0),
            model=exported("bert")[1],
            dataset=dataset(),
        )[1]
        for kind in kinds
    }
    assert len({contents(folder)["model.onnx"] for folder in made.values()}) == 3
    before = outputs_of(exported("bert")[1] / "model.onnx")[0]
    assert all(cosine(before, outputs_of(folder / "model.onnx")[0]) > 0.9 for folder in made.values())


def test_the_rows_decide_and_two_runs_agree():
    one, two = dataset(SENTENCES[:8]), dataset(["no", "a b", "x"])
    made = [
        run_step(run, QuantizeParams(**STATIC), model=exported("bert")[1], dataset=rows)[1] for rows in (one, one, two)
    ]
    first, again, other = (contents(folder)["model.onnx"] for folder in made)
    assert first == again
    assert first != other


def test_memory_holds_one_sample_at_a_time():
    """Feeds are made as they are read: none is requested before the previous one was used."""
    from onnxbuild.workers.calibrate.observe import ranges
    from onnxbuild.workers.graphs.graph_files import load_model

    model = load_model(exported("bert")[1] / "model.onnx")
    alive = []

    class Feed(dict):
        def __init__(self, **values):
            super().__init__(values)
            alive.append(self)
            assert len(alive) == 1

    def feeds():
        for _ in range(5):
            ids = np.ones((1, 6), np.int64)
            yield Feed(input_ids=ids, attention_mask=ids, token_type_ids=0 * ids)
            alive.clear()

    tensor = next(node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization")
    (low, high) = ranges(model, [tensor], feeds(), scratch())[tensor]
    assert low < 0 < high


def test_percentile_and_entropy_cut_outliers_off():
    random = np.random.default_rng(0)
    values = np.concatenate([random.standard_normal(100_000), [50.0]])
    limits = (float(values.min()), float(values.max()))
    counts = np.histogram(values, 2048, range=limits)[0]
    low, high = clipped_by_percentile(limits, counts, 99.9)
    assert -4 < low < -2.5
    assert 2.5 < high < 4
    assert clipped_by_percentile(limits, counts, 100.0) == pytest.approx(limits)
    low, high = clipped_by_entropy(limits, counts)
    assert -20 < low < -2.5
    assert 2.5 < high < 20


def test_gptq_keeps_what_a_layer_gives_better_than_rounding():
    random = np.random.default_rng(0)
    inputs = random.standard_normal((512, 8)) @ random.standard_normal((8, 64)) + 0.1 * random.standard_normal(
        (512, 64)
    )
    inputs = inputs.astype(np.float32)
    weight = random.standard_normal((64, 32)).astype(np.float32)
    params = QuantizeParams(method="weight-only", algorithm="gptq", block_size=16)

    def error(hessian):
        codes, scales, zeros = _rounded(weight, hessian, params)
        blocks = np.arange(64) // 16
        restored = (codes[:64].astype(np.float32) - zeros[blocks]) * scales[blocks]
        return float(np.linalg.norm(inputs @ (restored - weight)))

    assert error(inputs.T @ inputs) < 0.7 * error(np.eye(64, dtype=np.float32))


@pytest.mark.parametrize("symmetric", [False, True])
def test_gptq_is_a_form_that_the_runtime_reads(symmetric):
    params = QuantizeParams(method="weight-only", algorithm="gptq", block_size=16, symmetric=symmetric, samples=8)
    facts, folder = run_step(run, params, model=exported("bert")[1], dataset=dataset())
    assert facts["files"]["model.onnx"]["quantized"] == {"MatMulNBits": 14}
    before, after = (outputs_of(path / "model.onnx")[0] for path in (exported("bert")[1], folder))
    assert cosine(before, after) > 0.9


@pytest.mark.parametrize(
    ("changes", "operator", "least"),
    [
        ({"algorithm": "k_quant"}, "MatMulNBits", 0.9),
        ({"algorithm": "k_quant", "bits": 8}, "MatMulNBits", 0.99),
        ({"algorithm": "nf4", "block_size": 64}, "MatMulBnb4", 0.9),
        ({"algorithm": "fp4", "block_size": 16}, "MatMulBnb4", 0.8),
    ],
)
def test_other_algorithms_for_weights(changes, operator, least):
    facts, folder = run_step(run, QuantizeParams(method="weight-only", **changes), model=exported("bert")[1])
    assert facts["files"]["model.onnx"]["quantized"] == {operator: 14}
    before, after = (outputs_of(path / "model.onnx")[0] for path in (exported("bert")[1], folder))
    assert cosine(before, after) > least


def test_an_encoder_in_fp32_before_a_decoder_in_four_bits():
    modules = {"encoder_model": "fp32", "decoder_model_merged": ModuleParams(bits=4)}
    params = QuantizeParams(method="weight-only", bits=8, modules=modules)
    source = exported("t5")[1]
    facts, folder = run_step(run, params, model=source)
    assert contents(folder)["encoder_model.onnx"] == contents(source)["encoder_model.onnx"]
    assert facts["files"]["encoder_model.onnx"]["left"] == "fp32"
    assert facts["files"]["decoder_model_merged.onnx"]["merged"] is True
    bits = {
        attribute.i
        for name in ("decoder_model.onnx", "decoder_with_past_model.onnx")
        for node in onnx.load(folder / name).graph.node
        if node.op_type == "MatMulNBits"
        for attribute in node.attribute
        if attribute.name == "bits"
    }
    assert bits == {4}
    assert generated_by(folder, "t5")


def test_a_module_that_is_not_there():
    params = QuantizeParams(method="weight-only", modules={"encoder": "fp32"})
    with pytest.raises(CheckFailed) as caught:
        params_by_file(params, ["encoder_model.onnx", "decoder_model.onnx"], ["encoder_model.onnx"])
    assert str(caught.value) == "OBE50 `modules` names `encoder`, and no file has this name"
    assert caught.value.failure.notes == (("hint", "did you mean `encoder_model`?"),)


def test_a_model_that_reads_no_text():
    with pytest.raises(CheckFailed) as caught:
        run_step(run, QuantizeParams(**STATIC), model=exported("vit")[1], dataset=dataset())
    assert str(caught.value) == "OBE59 the model reads no text: it has no tokenizer, or takes no `input_ids`"


def test_rows_are_chosen_by_seed_and_kept_in_order():
    folder = dataset([str(number) for number in range(100)])
    first, same, other = (list(texts(folder, Rows(), samples=5, seed=seed)) for seed in (0, 0, 1))
    assert first == same == sorted(first, key=int)
    assert first != other
    assert len(list(texts(folder, Rows(limit=3, seed=7), samples=5, seed=0))) == 3
    assert len(list(texts(folder, Rows(), samples=500, seed=0))) == 100


def test_a_csv_and_a_column_that_is_not_there():
    folder = scratch()
    (folder / "reviews.csv").write_text('sentence,label\n"Good, soup.",1\n')
    assert list(texts(folder, Rows(columns={"text": "sentence"}), samples=5, seed=0)) == ["Good, soup."]
    with pytest.raises(CheckFailed) as caught:
        list(texts(folder, Rows(columns={"text": "sentense"}), samples=5, seed=0))
    assert str(caught.value) == "OBE58 reviews.csv has no column `sentense`"
    assert caught.value.failure.notes == (("hint", "did you mean `sentence`?; set it with `columns: {text: …}`"),)


def test_a_damaged_file():
    folder = scratch()
    (folder / "rows.jsonl").write_text('{"text": \n')
    with pytest.raises(CheckFailed, match=r"OBE58 rows\.jsonl cannot be read: line 1, column 9: Expecting value"):
        list(texts(folder, Rows(), samples=5, seed=0))
