"""A class name does not say what a model returns: the auto classes of transformers do, in each generation."""

import pytest

from onnxbuild.tables.architectures import implied, infer_task

FOUR, FIVE = {"transformers": "4.57.6"}, {"transformers": "5.23.0"}
SPEECH, WRITES, TRANSLATES = (
    f"{task}-with-past" for task in ("automatic-speech-recognition", "text-generation", "text2text-generation")
)


def task(name, versions=FOUR, **config):
    return infer_task({"architectures": [name], **config}, versions)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BertModel", "feature-extraction"),
        ("BertForTokenClassification", "token-classification"),
        ("MarianMTModel", TRANSLATES),
        ("EncoderDecoderModel", TRANSLATES),
        ("BartForConditionalGeneration", TRANSLATES),  # also in the table of models that fill masks
        ("GPT2LMHeadModel", WRITES),
        ("BertLMHeadModel", WRITES),
        ("DPRQuestionEncoder", "feature-extraction"),
        ("WhisperForConditionalGeneration", SPEECH),
        ("SpeechEncoderDecoderModel", SPEECH),
        ("WhisperForAudioClassification", "audio-classification"),
        ("WhisperModel", "feature-extraction"),
        ("Wav2Vec2ForCTC", "automatic-speech-recognition"),
        ("ParakeetForCTC", "automatic-speech-recognition"),  # also a base model
        ("CLIPModel", "zero-shot-image-classification"),
        ("ChineseCLIPModel", "zero-shot-image-classification"),
        ("CLIPForImageClassification", "image-classification"),
        ("CLIPTextModel", "feature-extraction"),
        ("VisionEncoderDecoderModel", "image-to-text-with-past"),
        ("T5EncoderModel", "feature-extraction"),
    ],
)
@pytest.mark.parametrize("versions", [FOUR, FIVE])
def test_a_class_has_the_task_of_its_auto_class(name, expected, versions):
    assert task(name, versions) == expected


@pytest.mark.parametrize("name", ["GPT2DoubleHeadsModel", "OpenAIGPTDoubleHeadsModel", "BertForPreTraining", "Model"])
@pytest.mark.parametrize(("versions", "generation"), [(FOUR, 4), (FIVE, 5)])
def test_a_class_without_an_auto_class_implies_nothing(name, versions, generation):
    found = implied({"architectures": [name]}, versions)
    assert found.task is None
    assert found.because == f"no auto class of transformers {generation} has `{name}` of config.json"


def test_a_class_of_the_other_generation_implies_nothing():
    found = implied({"architectures": ["TransfoXLLMHeadModel"]}, FIVE)
    assert found.because == "`TransfoXLLMHeadModel` in config.json is a class of transformers 4, not 5"
    assert task("TransfoXLLMHeadModel") == WRITES
    assert implied({"architectures": ["AfmoeForCausalLM"]}, FOUR).task is None
    assert task("AfmoeForCausalLM", FIVE) == WRITES


def test_a_class_with_several_heads_implies_none_of_them():
    found = implied({"architectures": ["Gemma3ForConditionalGeneration"]}, FIVE)
    assert found.task is None
    assert found.because == "`Gemma3ForConditionalGeneration` in config.json has several"
    assert found.candidates == ("image-to-text-with-past", WRITES)
    assert implied({"architectures": ["XLMWithLMHeadModel"]}, FOUR).candidates == ("fill-mask", WRITES)


def test_a_class_whose_task_is_not_built_here_names_its_auto_class():
    found = implied({"architectures": ["DetrForObjectDetection"]}, FOUR)
    assert found.because == (
        "`DetrForObjectDetection` in config.json belongs to AutoModelForObjectDetection, which has no task here"
    )
    assert task("SamModel") is None  # a base model that is also one for masks


def test_the_code_of_a_checkpoint_registers_its_own_classes():
    names = {"AutoConfig": "a.MyConfig", "AutoModel": "a.MyModel", "AutoModelForMaskedLM": "a.MyModelWithHead"}
    assert task("MyModelWithHead", auto_map=names) == "fill-mask"
    assert task("MyModel", auto_map=names) == "feature-extraction"
    assert task("OtherModel", auto_map=names) is None
    assert task("MyModel", auto_map=["AutoModel"]) is None


@pytest.mark.parametrize(
    "config", [{}, {"architectures": None}, {"architectures": "BertModel"}, {"architectures": [7, {}]},
               {"architectures": []}, {"model_type": "whisper"}],
)  # fmt: skip
def test_a_config_without_architectures_implies_nothing(config):
    assert implied(config, {}).because == "config.json does not imply one"


def test_architectures_that_disagree_imply_nothing():
    both = {"architectures": ["BertForMaskedLM", "BertForTokenClassification"]}
    found = implied(both, {})
    assert found.task is None
    assert found.because == (
        "the architectures `BertForMaskedLM`, `BertForTokenClassification` in config.json imply different ones"
    )
    assert implied({"architectures": ["BertForMaskedLM", "RobertaForMaskedLM"]}, {}).task == "fill-mask"


@pytest.mark.parametrize("version", ["", "absent", "4.36.0", "3.0", "²"])
def test_an_unknown_version_counts_as_the_older_generation(version):
    assert task("BertModel", {"transformers": version}) == "feature-extraction"
    assert task("AfmoeForCausalLM", {"transformers": version}) is None


def test_a_newer_version_counts_as_the_newest_generation():
    assert task("AfmoeForCausalLM", {"transformers": "6.0.0"}) == WRITES
