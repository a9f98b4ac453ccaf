"""Settings of loaders that a variant must share with its reference."""

import json

import pytest

from onnxbuild.workers.validate.sanity.settings import other_settings


def folders(tmp_path, file, wanted, actual):
    for name, content in (("reference", wanted), ("variant", actual)):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        if content is not None:
            path.write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "variant", tmp_path / "reference"


PICTURES, POOLING = "preprocessor_config.json", "1_Pooling/config.json"


@pytest.mark.parametrize(
    ("file", "wanted", "actual"),
    [
        (PICTURES, {"image_mean": [0.485, 0.456, 0.406]}, {"image_mean": [0.5, 0.5, 0.5]}),
        (PICTURES, {"rescale_factor": 1 / 255}, {"rescale_factor": 1.0}),
        (PICTURES, {"do_normalize": True}, {"do_normalize": False}),
        (PICTURES, {"sampling_rate": 16000}, {"sampling_rate": 8000}),
        (POOLING, {"pooling_mode_mean_tokens": True}, {"pooling_mode_mean_tokens": False}),
        ("sentence_bert_config.json", {"max_seq_length": 256}, {"max_seq_length": 128}),
        ("config_sentence_transformers.json", {"prompts": {"query": "query: "}}, {"prompts": {"query": ""}}),
        ("generation_config.json", {"eos_token_id": [1, 2]}, {"eos_token_id": 1}),
        ("config.json", {"problem_type": "multi_label_classification"}, {"model_type": "bert"}),
    ],
)
def test_another_setting_is_a_fault(tmp_path, file, wanted, actual):
    (fault,) = other_settings(*folders(tmp_path, file, wanted, actual))
    assert fault[0] == "OBE147"
    assert f"`{next(iter(wanted))}` in {file}" in fault[1].replace(" or config.json", "")


@pytest.mark.parametrize(
    ("file", "wanted", "actual"),
    [
        (
            PICTURES,
            {"image_mean": [0.5, 0.5, 0.5], "size": 224},
            {"image_mean": [0.5, 0.5, 0.5], "size": {"height": 224}},
        ),
        (PICTURES, {"rescale_factor": 0.00392156862745098}, {"rescale_factor": 0.003921568627451}),
        (PICTURES, {"image_mean": [0.5]}, None),
        (POOLING, {"pooling_mode_mean_tokens": True}, {}),
        ("generation_config.json", {"eos_token_id": [2]}, {"eos_token_id": 2}),
        ("config.json", {"problem_type": "regression"}, None),
        ("config.json", {"eos_token_id": 2}, {"eos_token_id": None}),
    ],
)
def test_the_same_setting_in_another_form_is_none(tmp_path, file, wanted, actual):
    assert list(other_settings(*folders(tmp_path, file, wanted, actual))) == []
