"""Types of every sort through `benchmarks/breadth.py`, and the parts of it that need no framework."""

import json
import os
import subprocess
import sys

import pytest
from breadth_parts import BENCHMARKS, parts  # noqa: F401 - a fixture of every test here

# Encoders, decoders, encoder-decoders, pictures, sound, two towers: all right with fp32.
PART = [
    "bert",
    "deberta-v2",
    "gpt2",
    "gemma2",
    "t5",
    "whisper",
    "convnext",
    "wav2vec2",
    "clip",
    "vision-encoder-decoder",
]
SPREAD = [
    "bert",
    "distilbert",
    "deberta-v2",
    "modernbert",
    "roformer",
    "gpt2",
    "llama",
    "gemma2",
    "bloom",
    "olmo2",
    "opt",
    "t5",
    "bart",
    "whisper",
    "vit",
    "convnext",
    "swin",
    "wav2vec2",
    "clip",
    "vision-encoder-decoder",
]


@pytest.mark.heavy
def test_types_are_right_by_a_comparison_of_their_own(tmp_path, amount):
    types = amount(PART, SPREAD)
    for module in ("torch", "optimum.onnxruntime", "PIL"):
        pytest.importorskip(module)
    command = [sys.executable, str(BENCHMARKS / "breadth.py"), "--exporter", "optimum", "--variant", "fp32",
               "--work", str(tmp_path / "work"), "--store", str(tmp_path / "store"),
               "--results", str(tmp_path / "results.jsonl"), "--batch", "20", "-j", "2",
               "--type", *types]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    found = {row["type"]: (row["verdict"], row["code"], row["message"]) for row in map(json.loads, lines)}
    assert {name: result for name, result in found.items() if result[0] != "right"} == {}
    assert set(found) == set(types)
    assert done.returncode == 0, done.stderr
    work = tmp_path / "work"
    double_a_weight(work / "out" / "bert" / "fp32" / "model.onnx")
    job = {"task": "fill-mask", "checkpoint": str(work / "checkpoints" / "optimum" / "bert"),
           "onnx": str(work / "out" / "bert" / "fp32")}  # fmt: skip
    assert compared(job)["worst"] > 0.01


def compared(job):
    """What the comparison answers, in a process that cannot import onnxbuild's tests or benchmarks."""
    command = [sys.executable, str(BENCHMARKS / "breadth" / "comparison.py")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def double_a_weight(path):
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path)
    weight = next(tensor for tensor in graph.graph.initializer if len(tensor.dims) == 2 and "MatMul" in tensor.name)
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    path.unlink()  # a link to the store
    onnx.save(graph, path)


def answer(worst, rms=0.0, loader=""):
    return {"worst": worst, "rms": rms, "where": "logits", "loader": loader}


@pytest.mark.parametrize(
    ("variant", "given", "word"),
    [
        ("fp32", answer(9e-4), "right"),
        ("fp32", answer(2e-3), "wrong"),
        ("o2", answer(float("nan")), "wrong"),
        ("fp32", answer(1e-6, loader="ORTModelForCausalLM writes other tokens"), "wrong"),
        ("fp32", answer(1e-6, loader="ORTModelForCausalLM fails: RuntimeError"), "right"),
        ("int8", answer(0.8, rms=0.1), "right"),
        ("int8", answer(0.8, rms=0.16), "wrong"),
        ("q4", answer(0.9, rms=0.3, loader="ORTModelForCausalLM writes other tokens"), "right"),
        ("int8", {**answer(0.8, rms=0.3), "rounded": {**answer(0.8, rms=0.3), "typical": 0.02}}, "right"),
        ("q4", {**answer(0.8, rms=0.5), "rounded": {**answer(0.8, rms=0.3), "typical": 0.3}}, "wrong"),
        ("q4", {**answer(0.8, rms=0.5), "foreign": "the matrix is none of the checkpoint"}, "wrong"),
        ("fp32", {"error": "RuntimeError"}, "wrong"),
        ("fp32", {"unjudged": "no outputs"}, "not compared"),
    ],
)
def test_a_verdict(variant, given, word):
    from judging import judged

    assert judged(variant, given).word == word


def row(name, verdict="right", code="", variant="fp32"):
    return {"exporter": "optimum", "type": name, "variant": variant, "verdict": verdict, "code": code, "message": "why"}


def test_bounds_that_are_missed():
    from judging import missed_bounds

    rows = [row("a"), row("b", "wrong"), row("c", "refused", "OBE99", "int8")]
    assert missed_bounds(rows, {"optimum": 3}) == [
        "optimum b fp32 is wrong: why",
        "optimum c int8 fails with OBE99: why",
        "optimum: 1 of 3 types are right, at least 93.2% expected",
    ]
    assert missed_bounds([row("a"), row("b", "refused", "OBE04", "int8")], {"optimum": 1}) == []


def breadth(path, *arguments):
    command = [sys.executable, str(BENCHMARKS / "breadth.py"), "--no-build", "--results", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_has_no_result_is_no_kept_bound(tmp_path):
    dated = [{**row(name), "date": "2026-11-27"} for name in ("bert", "t5")]
    path = tmp_path / "measured.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in dated), encoding="utf-8")
    chosen = ("--exporter", "optimum", "--type", "bert", "t5", "--variant")
    assert breadth(path, *chosen, "fp32").returncode == 0
    done = breadth(path, *chosen, "fp32", "int8")
    assert (done.returncode, done.stdout) == (1, "optimum: 2 of 2 types have no result for int8\n")


@pytest.mark.parametrize("line", ['{"exporter": "opt', "", "{}", "<<<<<<< HEAD", json.dumps(row("a", "rigth"))])
def test_a_line_that_is_no_result_is_named(tmp_path, line):
    path = tmp_path / "measured.jsonl"
    path.write_text(f"{json.dumps({**row('t5'), 'date': '2026-11-27'})}\n{line}\n", encoding="utf-8")
    done = breadth(path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}:2: no result of a variant: ")


def test_a_misspelled_type_is_an_error_and_not_a_kept_bound():
    command = [sys.executable, str(BENCHMARKS / "breadth.py"), "--no-build", "--type", "bert", "brt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "breadth.py: error: no such model type: brt")


def test_the_lists_of_types():
    from model_lists import PARTS, WITHOUT_TASK, Kind, kinds

    optimum, newer = kinds("optimum"), kinds("transformers")
    assert (len(optimum), len(newer)) == (142, 198)
    others = {kind.model_type for kind in newer} | set(WITHOUT_TASK) | set(PARTS)
    assert not {kind.model_type for kind in optimum} & others
    assert Kind("bert", "fill-mask", "optimum") in optimum
    assert Kind("qwen3_next", "text-generation-with-past", "transformers") in newer


class Config:
    """A config of transformers, as far as the rule reads it."""

    model_type = "toy"

    def __init__(self, **values):
        vars(self).update(values)

    def to_dict(self):
        return vars(self)


class Whole(Config):
    def __init__(self, **values):
        super().__init__(hidden_size=768, num_attention_heads=12, head_dim=64, num_hidden_layers=12, vocab_size=30522,
                         depths=[3, 4, 18, 5], num_channels=3, is_decoder=False, part=Config(d_model=512))  # fmt: skip
        vars(self).update(values)


def test_every_size_of_a_config_shrinks():
    from small_config import small

    made = vars(small(Whole, {"hidden_size": 40, "part.d_ff": 7}))
    assert made["part"] == {"model_type": "toy", "d_model": 48, "d_ff": 7}
    assert {name: made[name] for name in ("hidden_size", "num_attention_heads", "head_dim", "num_hidden_layers")} == {
        "hidden_size": 40, "num_attention_heads": 3, "head_dim": 24, "num_hidden_layers": 2}  # fmt: skip
    assert (made["vocab_size"], made["depths"], made["num_channels"]) == (389, [1, 1, 1, 2], 3)


def test_a_page_names_what_was_not_run(tmp_path, monkeypatch):
    import breadth_page
    from model_lists import Kind

    monkeypatch.setattr(breadth_page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(breadth_page, "_versions", lambda: "versions")
    rows = [{**row("bert"), "date": "2026-11-26"}, {**row("t5", "refused", "OBE04"), "date": "2026-11-26"}]
    listed = [Kind("bert", "fill-mask", "optimum"), Kind("t5", "text2text-generation-with-past", "optimum")]
    breadth_page.write_page(rows, {"optimum": listed})
    page = (tmp_path / "page.md").read_text()
    assert "| bert | fill-mask | optimum | right | not run | not run | not run |" in page
    assert "| t5 | text2text-generation-with-past | optimum | refused (OBE04) | not run | not run | not run |" in page
    assert "| optimum | fp32 | 2 | 1 | 1 | 0 | 0 | 0 | 0 |" in page
    assert "| t5 | optimum | fp32 | refused (OBE04) | why |" in page


def test_the_page_has_the_results_of_the_repository_and_they_keep_the_bounds(tmp_path, monkeypatch):
    import breadth_page
    from judging import missed_bounds
    from model_lists import kinds
    from results_file import results

    written = breadth_page.PAGE.read_text()
    monkeypatch.setattr(breadth_page, "PAGE", tmp_path / "page.md")
    lists = {exporter: kinds(exporter) for exporter in ("optimum", "transformers")}
    breadth_page.write_page(results(), lists)
    made = (tmp_path / "page.md").read_text()
    # The versions are those of the environment in which it was measured.
    assert [line for line in made.splitlines() if not line.startswith("Measured ")] == [
        line for line in written.splitlines() if not line.startswith("Measured ")
    ]
    assert missed_bounds(results(), {exporter: len(listed) for exporter, listed in lists.items()}) == []


# Types that bug reports and an earlier round of this table named, and those of them that are refused.
REPORTED = (
    "audio-spectrogram-transformer bamba blip clipseg dinov2_with_registers gemma2 granitemoehybrid kimi_linear "
    "layoutlm layoutlmv3 lfm2 lilt mamba mamba2 markuplm mctct mgp-str mobilevitv2 modernbert-decoder moonshine "
    "nllb-moe olmo olmo2 olmo_hybrid owlv2 owlvit parakeet_ctc patchtsmixer phi3 pix2struct qwen3_5_moe_text "
    "qwen3_5_text qwen3_next recurrent_gemma sam speech_to_text switch_transformers t5gemma visual_bert "
    "wav2vec2-bert zamba2"
)
BY_LINT, UP_TO_A_LENGTH = {"led", "minimax", "prophetnet", "siglip2"}, {"big_bird", "bigbird_pegasus"}


def test_what_was_reported_is_right_or_refused_by_lint_or_with_its_longest_length():
    from results_file import results

    found = {one["type"]: (one["verdict"], one["code"]) for one in results() if one["variant"] == "fp32"}
    assert {name: found[name] for name in REPORTED.split() if found[name] != ("right", "")} == {}
    assert {name: found[name] for name in BY_LINT} == dict.fromkeys(BY_LINT, ("refused", "OB638"))
    assert {name: found[name] for name in UP_TO_A_LENGTH} == dict.fromkeys(UP_TO_A_LENGTH, ("refused", "OBE86"))
    after_export = {code for verdict, code in found.values() if verdict == "refused" and code.startswith("OBE")}
    assert after_export <= {"OBE82", "OBE86"}


def test_results_are_sorted_and_the_last_one_of_a_variant_counts(tmp_path):
    from results_file import keep, results

    path, dated = tmp_path / "measured.jsonl", {"date": "2026-11-27", "seconds": 3.5}
    keep([{**row("t5", variant=variant), **dated} for variant in ("q4", "fp32")], path)
    long = f"{os.path.expanduser('~')}/x\nfails " + 210 * "y"
    keep([{**row("bert", "refused", "OBE04"), **dated, "message": long}, {**row("t5", "wrong"), **dated}], path)
    found = results(path)
    assert [(one["type"], one["variant"], one["verdict"]) for one in found] == [
        ("bert", "fp32", "refused"), ("t5", "fp32", "wrong"), ("t5", "q4", "right")]  # fmt: skip
    assert found[0]["message"] == "~/x fails " + 189 * "y" + "…"
    assert {name for one in found for name in one} == {
        "exporter", "type", "variant", "verdict", "code", "message", "date"}  # fmt: skip
    assert path.read_text().count("\n") == 3
    assert {one.name for one in tmp_path.iterdir()} == {path.name, f".{path.name}.lock"}


def test_no_other_process_writes_between_reading_and_writing(tmp_path, monkeypatch):
    """A second process that wants the lock, asked while the first one reads the rows and before it replaces them."""
    import results_file

    path, tries = tmp_path / "measured.jsonl", []
    wants = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def is_free():
        other = [sys.executable, "-S", "-c", wants, str(tmp_path / ".measured.jsonl.lock")]
        return subprocess.run(other, capture_output=True, check=False).returncode == 0

    def read(read_from, results=results_file.results):
        tries.append(is_free())
        return results(read_from)

    monkeypatch.setattr(results_file, "results", read)
    results_file.keep([{**row("t5"), "date": "2026-11-27"}], path)
    assert tries == [False]
    assert is_free()


@pytest.mark.parametrize(
    ("name", "task", "variant", "loose"),
    [
        ("hubert", "automatic-speech-recognition", "int8", "top1: 0.0, max_probability: 1.0"),
        ("parakeet_ctc", "automatic-speech-recognition", "q4", "top1: 0.0, max_probability: 1.0"),
        ("gpt2", "text-generation", "q4", "kl_mean: 1000000000.0, perplexity_ratio: 1000000000.0"),
        ("clip_vision_model", "feature-extraction", "int8", "cosine_mean: -1.0"),
        ("pp_lcnet", "image-classification", "q4", "cosine_mean: -1.0"),
    ],
)
def test_every_default_bound_of_random_weights_is_loose(name, task, variant, loose):
    from builds import _model
    from model_lists import Kind

    line = next(line for line, of in _model(Kind(name, task, "optimum"), [variant]) if of == variant)
    assert f"validate: {{thresholds: {{{loose}}}}}" in line
    assert "thresholds" not in "".join(line for line, _ in _model(Kind(name, task, "optimum"), ["fp32"]))


class Input:
    """What ONNX Runtime says of an input of a graph."""

    def __init__(self, name, shape, kind="tensor(int64)"):
        self.name, self.shape, self.type = name, shape, kind


def test_inputs_are_padded_and_fit_the_graph():
    np = pytest.importorskip("numpy")
    from feeds import Size, feeds_for

    text = [Input("input_ids", ["batch", "sequence"]), Input("attention_mask", ["batch", "sequence"])]
    config = {"vocab_size": 50, "pad_token_id": 1}
    made = feeds_for(text, config, Size(tokens=10, samples=100))
    assert made["attention_mask"].sum(axis=1).tolist() == [10, 6, 3]
    assert (made["input_ids"][made["attention_mask"] == 0] == 1).all()
    assert made["input_ids"][made["attention_mask"] == 1].min() >= 6
    unmasked = feeds_for(text[:1], config, Size(tokens=10, samples=100))
    assert unmasked["input_ids"].min() >= 6
    seen = feeds_for([Input("pixel_values", ["b", 3, "h", "w"], "tensor(float)")], {"image_size": 48}, Size(7, 9))
    assert seen["pixel_values"].shape == (3, 3, 48, 48)
    heard = [Input("input_values", ["b", "n"], "tensor(float)"), Input("attention_mask", ["b", "n"])]
    assert {value.shape for value in feeds_for(heard, {}, Size(7, 9)).values()} == {(3, 9)}
    boxes = feeds_for([Input("bbox", ["b", "s", 4])], {}, Size(7, 9))["bbox"]
    assert (boxes[..., :2] < boxes[..., 2:]).all()
    assert np.isfinite(seen["pixel_values"]).all()
    wide = feeds_for(
        [Input("pixel_values", ["b", "c", "h", "w"], "tensor(float)")], {"image_size": [64, 96]}, Size(7, 9)
    )
    assert wide["pixel_values"].shape == (3, 3, 64, 96)
    patches = feeds_for([Input("flattened_patches", ["b", 5, 14], "tensor(float)")], {}, Size(7, 9))
    assert patches["flattened_patches"][..., :2].min() >= 1  # rows and columns


def test_a_picture_has_its_tokens_before_the_words():
    pytest.importorskip("numpy")
    from feeds import Size, feeds_for

    inputs = [Input("input_ids", ["b", "s"]), Input("attention_mask", ["b", "s"]),
              Input("pixel_values", ["b", 3, 48, 48], "tensor(float)")]  # fmt: skip
    config = {"vlm_config": {"image_token_index": 389, "vision_config": {"num_image_tokens": 4}}}
    made = feeds_for(inputs, config, Size(tokens=10, samples=9))
    assert made["input_ids"].shape == (3, 14)
    assert (made["input_ids"] == 389).sum(axis=1).tolist() == [4, 4, 4]
    assert made["attention_mask"].sum(axis=1).tolist() == [14, 10, 7]


def test_an_output_that_optimum_renames_is_compared_with_what_it_means():
    pytest.importorskip("transformers")
    from comparison import _named

    given = {"encoder_last_hidden_state": 1, "transformer_decoder_last_hidden_state": 2}
    assert _named(given, {"model_type": "maskformer"})["last_hidden_state"] == 2
    assert _named(given, {"model_type": "bert"}) == given


def test_several_heads_are_compared_under_the_names_of_the_graph():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from comparison import _tensors

    one, other = torch.zeros(2), torch.ones(2)
    assert _tensors({"logits": (one, other)}, ["letters", "words"]) == {"letters": one, "words": other}
    assert _tensors({"logits": one, "hidden_states": (one, other)}, ["logits", "words"]) == {"logits": one}
    assert _tensors({"logits": (one, other)}, ["logits"]) == {}
