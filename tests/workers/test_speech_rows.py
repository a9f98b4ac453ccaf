"""Speech in a whole validation: recordings of a dataset, their transcripts by both sides, and seeded sounds without."""

from __future__ import annotations

import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

for module in ("torch", "optimum.onnxruntime", "jiwer", "soundfile"):
    pytest.importorskip(module)

from small_models import alter_weight, damaged, exported, speller, writer  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.dataset_rows import Rows  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel  # noqa: E402
from onnxbuild.workers.inputs.sample_source import open_source  # noqa: E402
from onnxbuild.workers.validate.of_files import reading_files  # noqa: E402
from onnxbuild.workers.validate.of_files.processed import Processor  # noqa: E402
from onnxbuild.workers.validate.of_files.recordings import decoded, seeded_sounds  # noqa: E402
from onnxbuild.workers.validate.of_files.transcribed import habits_of, spelled, written  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402

pytestmark = pytest.mark.heavy

SOUNDS = seeded_sounds(6, 16_000, 11)


@pytest.fixture
def validate(tmp_path):
    (tmp_path / "report").mkdir()

    def run_it(model, *, rows=None, columns=None, **params):
        folder = {"dataset": rows} if rows is not None else {}
        named = {"dataset": "spoken", "rows": Rows(columns=columns or {})} if rows is not None else {}
        settled = ValidateParams(task=model.task, **{"thresholds": {"max_abs": 1e-3}, **params}, **named)
        return run(settled, model.inputs | folder, {"report": tmp_path / "report"}, lambda *_: None)

    return run_it


@pytest.fixture
def recorded(tmp_path):
    """A folder of rows with a recording each, and what is said in it."""
    import soundfile

    def write(said, *, rate=16_000):
        folder = tmp_path / "spoken"
        (folder / "clips").mkdir(parents=True)
        lines = []
        for number, (sound, text) in enumerate(zip(SOUNDS, said, strict=True)):
            soundfile.write(folder / f"clips/{number}.wav", sound, rate)
            lines.append(json.dumps({"path": f"clips/{number}.wav", "said": text}))
        (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return folder

    return write


def heard_by_transformers(model):
    """What PyTorch and transformers make of each sound, without any of our code."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

    extractor, tokenizer = (kind.from_pretrained(model.checkpoint) for kind in (AutoFeatureExtractor, AutoTokenizer))
    network = AutoModelForCTC.from_pretrained(model.checkpoint).eval()
    with torch.inference_mode():
        feeds = [extractor(sound, sampling_rate=16_000, return_tensors="pt") for sound in SOUNDS]
        return [tokenizer.decode(network(**one).logits[0].argmax(-1)) for one in feeds]


COLUMNS = {"audio": "path", "text": "said"}


def test_ctc_transcripts_are_those_of_transformers_and_errors_those_of_jiwer(validate, recorded):
    import jiwer

    model = speller()
    heard = heard_by_transformers(model)
    assert len(set(heard)) == len(SOUNDS)
    assert sum(len(text.split()) for text in heard) > 2 * len(SOUNDS)
    said = [" ".join([*text.split()[1:], "more"]) for text in heard]
    facts = validate(model, rows=recorded(said), columns=COLUMNS, thresholds={"wer": "<= fp32 + 0.005"})
    assert facts["rows"] == {"name": "recordings of `spoken`", "kind": "transcripts", "count": 6, "of": 6}
    assert (facts["metrics"]["transcript_wer"], facts["metrics"]["transcript_cer"]) == (0.0, 0.0)
    # 16-bit files round the sounds, and a random model hears that: the rate is near, and the same on both sides.
    assert (
        facts["metrics"]["wer"] == facts["reference_metrics"]["wer"] == pytest.approx(jiwer.wer(said, heard), abs=0.1)
    )
    assert facts["thresholds"]["wer"] == facts["reference_metrics"]["wer"] + 0.005
    low, high = facts["intervals"]["wer"]
    assert low <= facts["metrics"]["wer"] <= high
    assert facts["metrics"]["cer"] > 0


def deafen(graph):
    """The letters are others than those that the model was trained for."""
    alter_weight(graph, "lm_head.bias", lambda bias: np.roll(bias + 3 * np.arange(len(bias), dtype=bias.dtype), 3))


def test_a_broken_variant_breaks_the_bound(validate, recorded, tmp_path):
    model = speller()
    rows = recorded(heard_by_transformers(model))
    broken = damaged(model, tmp_path / "deaf", deafen)
    with pytest.raises(CheckFailed, match=r"`wer` is [\d.]+, above 0\.\d+ \(6 recordings, recordings of `spoken`"):
        validate(broken, rows=rows, columns=COLUMNS, thresholds={"wer": "<= fp32 + 0.005"})
    with pytest.raises(CheckFailed, match="`transcript_wer` is "):
        validate(broken, rows=rows, columns={"audio": "path"}, thresholds={"transcript_wer": 0.005})


def source_of(model):
    engine = OnnxModel(model.onnx, threads=2)
    return engine, open_source(model.onnx, engine, model.task, seed=0)


@pytest.mark.parametrize("with_past", ["-with-past", ""])
def test_a_decoder_writes_what_generate_writes(with_past):
    """With and without a cache: the tokens of `generate`, with the tokens that it must not write."""
    import torch
    from transformers import AutoModelForSpeechSeq2Seq

    model = writer(with_past)
    engine, source = source_of(model)
    processor = Processor(source, hears=True, trusts_code=False)
    network = AutoModelForSpeechSeq2Seq.from_pretrained(model.checkpoint).eval()
    habits = habits_of(source)
    assert (habits.never, habits.not_first) == ([7, 8], [9])
    several = []
    for sound in SOUNDS[:3]:
        sample = processor.heard(sound, "a sound")
        with torch.inference_mode():
            features = torch.from_numpy(sample.feeds["input_features"])
            wanted = network.generate(features, max_new_tokens=12, do_sample=False)[0].tolist()
        ids = written(engine, sample, engine.stages, habits, 12)
        several.append(tuple(ids))
        wanted = wanted[1:] if wanted[0] == habits.start else wanted
        assert ids == [one for one in wanted if one != 2]
    assert len(set(several)) == 3


def test_a_model_that_writes_is_measured_too(validate, recorded):
    facts = validate(writer(), rows=recorded(["one two"] * 6), columns=COLUMNS)
    assert facts["rows"]["kind"] == "transcripts"
    assert facts["metrics"]["transcript_wer"] == 0.0
    assert facts["metrics"]["wer"] == facts["reference_metrics"]["wer"] > 0


@pytest.mark.parametrize("takes", [True, False])
def test_a_graph_that_takes_a_mask_gets_one_from_a_processor_that_makes_it_only_if_asked(tmp_path, takes):
    """Moonshine's graph, with a processor of `return_attention_mask: false`, failed with OBE37."""
    from transformers import Wav2Vec2FeatureExtractor

    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(tmp_path)
    names = ("input_values", "attention_mask")[: 1 + takes]
    source = SimpleNamespace(folder=tmp_path, inputs=dict.fromkeys(names))
    feeds = Processor(source, hears=True, trusts_code=False).heard(SOUNDS[0], "a sound").feeds
    assert feeds.keys() == set(names)
    if takes:
        assert feeds["attention_mask"].tolist() == [[1] * len(SOUNDS[0])]


def test_seeded_sounds_show_agreement_and_nothing_of_quality(validate):
    facts = validate(speller())
    assert facts["rows"] == {"name": reading_files.SOUNDS, "kind": "transcripts", "count": 20, "of": 20}
    assert facts["metrics"]["transcript_wer"] == 0.0
    assert "wer" not in facts["metrics"]
    assert "reference_metrics" not in facts
    assert facts["worst_at"]["transcript_wer"] == "20 recordings, seeded sounds, which are no speech"


def test_a_model_without_a_processor_hears_no_sounds(validate):
    assert "rows" not in validate(exported("whisper"))


@pytest.mark.parametrize("refuses", ["loading", "processing", "model"])
def test_sounds_that_nobody_asked_for_are_left_out_where_they_are_refused(validate, monkeypatch, refuses):
    """A processor that transformers cannot load, or sounds that are not all that the model takes."""

    def refuse(*_args, **_named):
        if refuses == "loading":
            raise CheckFailed("OBE142", "the model's processor of recordings cannot be loaded")
        raise ValueError("needs a transcript as well")

    places = {"loading": (reading_files.Processor, "__init__"), "processing": (reading_files.Processor, "heard")}
    monkeypatch.setattr(*places.get(refuses, (reading_files, "spelled")), refuse)
    facts = validate(speller())
    assert facts["passed"]
    assert "rows" not in facts


def test_a_large_model_hears_fewer_sounds_or_none(monkeypatch, validate):
    weights = sum(path.stat().st_size for path in speller().checkpoint.iterdir())
    monkeypatch.setattr(reading_files, "_MOST_WORK", 150 * weights * 5.5)
    assert validate(speller())["rows"]["count"] == 5
    monkeypatch.setattr(reading_files, "_MOST_WORK", 150 * weights)
    assert "rows" not in validate(speller())


def test_another_rate_and_two_channels_are_heard_as_one_recording():
    import soundfile

    sound = SOUNDS[0]
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([sound, sound], axis=1), 16_000, format="FLAC")
    assert np.abs(decoded(buffer.getvalue(), 16_000, "row 1") - sound).max() < 1e-4
    slow = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, slow, 44_100, format="WAV", subtype="FLOAT")
    found = decoded(buffer.getvalue(), 16_000, "row 1")
    wanted = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert len(found) == 16_000
    assert np.abs(found[500:-500] - wanted[500:-500]).max() < 1e-2


def test_repeated_letters_are_kept_where_a_blank_parts_them():
    _, source = source_of(speller())
    letters = source.tokenizer.get_vocab()
    frames = [letters[one] for one in ("t", "t", "<pad>", "t", "o", "|", "|", "s", "<pad>")]
    assert spelled(np.eye(len(letters), dtype=np.float32)[frames], source) == "tto s"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("clips/none.wav", r"OBE140 row 1 of rows.jsonl has no file that can be read: 'clips/none.wav'"),
        ("../report", "OBE140 row 1 of rows.jsonl has no file that can be read"),
        ("rows.jsonl", "OBE141 the recording of row 1 of rows.jsonl cannot be read"),
    ],
)
def test_what_is_no_recording_is_refused(validate, tmp_path, value, expected):
    folder = tmp_path / "spoken"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(json.dumps({"audio": value}), encoding="utf-8")
    with pytest.raises(CheckFailed, match=expected):
        validate(speller(), rows=folder)


def test_rows_without_a_processor_fail(validate, recorded, tmp_path):
    model = speller()
    shutil.copytree(model.onnx, tmp_path / "bare")
    (tmp_path / "bare" / "preprocessor_config.json").unlink()
    with pytest.raises(CheckFailed, match="OBE142 the model's processor of recordings cannot be loaded"):
        validate(model._replace(onnx=tmp_path / "bare"), rows=recorded(["a"] * 6), columns=COLUMNS)


def test_rows_of_parquet_hold_their_recordings(validate, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import soundfile
    from pyarrow import parquet

    cells = []
    for number, sound in enumerate(SOUNDS[:3]):
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 16_000, format="WAV")
        cells.append({"bytes": buffer.getvalue(), "path": f"{number}.wav"})
    folder = tmp_path / "spoken"
    folder.mkdir()
    parquet.write_table(pyarrow.table({"audio": cells}), folder / "rows.parquet")
    assert validate(speller(), rows=folder)["rows"]["count"] == 3
