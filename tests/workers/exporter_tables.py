"""The tables of `tables/exporter_types.py`, read from the libraries themselves, by the interpreter that has them."""

import json
import sys

# Which mapping of transformers has the classes of a task; a task that is missing here has no separate class.
MAPPINGS = {
    "feature-extraction": "MODEL",
    "fill-mask": "MODEL_FOR_MASKED_LM",
    "text-classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION",
    "token-classification": "MODEL_FOR_TOKEN_CLASSIFICATION",
    "question-answering": "MODEL_FOR_QUESTION_ANSWERING",
    "multiple-choice": "MODEL_FOR_MULTIPLE_CHOICE",
    "image-classification": "MODEL_FOR_IMAGE_CLASSIFICATION",
    "zero-shot-image-classification": "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION",
    "audio-classification": "MODEL_FOR_AUDIO_CLASSIFICATION",
    "text-generation": "MODEL_FOR_CAUSAL_LM",
    "text2text-generation": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM",
    "automatic-speech-recognition": "MODEL_FOR_SPEECH_SEQ_2_SEQ",
}


def of_transformers():
    import transformers.models.auto.modeling_auto as auto

    found = {task: sorted(getattr(auto, f"{name}_MAPPING_NAMES")) for task, name in MAPPINGS.items()}
    found["image-to-text"] = sorted({"vision-encoder-decoder"} & {*auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES})
    for task in ("image-to-text", "text-generation", "text2text-generation", "automatic-speech-recognition"):
        found[f"{task}-with-past"] = found[task]
    speech = {*found["automatic-speech-recognition"], *auto.MODEL_FOR_CTC_MAPPING_NAMES}
    found["automatic-speech-recognition"] = sorted(speech)
    found["sentence-similarity"] = found["feature-extraction"]
    return found


def of_optimum():
    import optimum.exporters.onnx.model_configs  # noqa: F401 - it fills the table
    from optimum.exporters.tasks import TasksManager

    from onnxbuild.tables.tasks import TASKS

    found = {task: [] for task in TASKS}
    for model_type, by_backend in TasksManager._SUPPORTED_MODEL_TYPE.items():
        for task in by_backend.get("onnx", {}):
            if task in found:
                found[task].append(model_type)
    found["sentence-similarity"] = found["feature-extraction"]
    return {task: sorted(types) for task, types in found.items() if types}


def of_mobius():
    """What it registers, by its own names of tasks; what is right of that, `tables/exporter_types.py` says."""
    from mobius import registry
    from mobius._config_resolver import _default_task_for_model

    found = {}
    for model_type in registry.architectures():
        found.setdefault(_default_task_for_model(model_type), []).append(model_type)
    return found


if __name__ == "__main__":
    print(json.dumps({"optimum": of_optimum, "transformers": of_transformers, "mobius": of_mobius}[sys.argv[1]]()))
