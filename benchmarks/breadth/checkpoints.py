"""Makes small checkpoints with seeded weights: `python checkpoints.py` with one job as JSON per line on its input.

A job has `type`, `task` and `folder`. Each answer is a line with `type` and either nothing or `error`.
Runs in any environment that has transformers, and uses nothing of onnxbuild.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from config_exceptions import EXCEPTIONS
from config_exceptions_5 import EXCEPTIONS_5
from processors import save_processors
from small_config import small, text_part

# Task → the auto classes that have its head, in order.
HEADS = {
    "text2text-generation": ("AutoModelForSeq2SeqLM",),
    "automatic-speech-recognition": ("AutoModelForSpeechSeq2Seq", "AutoModelForCTC"),
    "image-to-text": ("AutoModelForImageTextToText", "AutoModelForVision2Seq"),
    "zero-shot-image-classification": ("AutoModelForZeroShotImageClassification",),
    "fill-mask": ("AutoModelForMaskedLM",),
    "text-generation": ("AutoModelForCausalLM",),
    "audio-classification": ("AutoModelForAudioClassification",),
    "image-classification": ("AutoModelForImageClassification",),
    "text-classification": ("AutoModelForSequenceClassification",),
    "token-classification": ("AutoModelForTokenClassification",),
    "question-answering": ("AutoModelForQuestionAnswering",),
    "feature-extraction": ("AutoModel", "AutoModelForPreTraining"),  # a retriever has only the second
}
_CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose1d,
                 torch.nn.ConvTranspose2d)  # fmt: skip
MOST_WEIGHTS = 20_000_000
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 3, "decoder_start_token_id": 1}


def head(task: str, config: Any) -> Any:
    """The auto class of the task that knows the config."""
    for name in HEADS[task.removesuffix("-with-past")]:
        auto = getattr(transformers, name, None)
        if auto is not None and type(config) in auto._model_mapping:  # noqa: SLF001 - it has no public name
            return auto
    raise ValueError(f"no class of {task} takes {type(config).__name__}")


def _head_or_other(task: str, config: Any) -> Any:
    """The class of the task, or of another one: a type without this head is refused, and lint has to see it."""
    try:
        return head(task, config)
    except ValueError:
        return head("text-generation", config)


def make(model_type: str, task: str, folder: Path) -> None:
    """Write the checkpoint."""
    config = _config(model_type, task)
    auto = _head_or_other(task, config)
    _check_size(auto, config)
    _name_first_head(auto, config)
    torch.manual_seed(7)
    model = auto.from_config(config)
    spread(model)
    model.eval()
    _settle_generation(model)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    save_processors(model_type, model.config, task, partial)
    partial.replace(folder)


def _name_first_head(auto: Any, config: Any) -> None:
    """Choose the first of several classes with one head, such as DeiT with and without its teacher."""
    classes = auto._model_mapping[type(config)]  # noqa: SLF001 - it has no public name
    if isinstance(classes, list | tuple):
        config.architectures = [classes[0].__name__]


def _check_size(auto: Any, config: Any) -> None:
    """Errors: ValueError if the rule left the model large. What cannot be built without memory is not counted."""
    try:
        with torch.device("meta"):
            weights = sum(weight.numel() for weight in auto.from_config(copy.deepcopy(config)).parameters())
    except Exception:  # noqa: BLE001 - then the model itself says why
        return
    if weights > MOST_WEIGHTS:
        raise ValueError(f"the small config still has {weights:,} weights")


def _config(model_type: str, task: str) -> Any:
    if model_type not in transformers.CONFIG_MAPPING:
        raise ValueError("transformers has no such type: its code comes with each checkpoint")
    exceptions = {**EXCEPTIONS.get(model_type, {}), **EXCEPTIONS_5.get(model_type, {})}
    config = small(transformers.CONFIG_MAPPING[model_type], exceptions)
    for part in {id(part): part for part in (config, text_part(config))}.values():
        for name, token in IDS.items():
            if getattr(part, name, None) is not None or name == "pad_token_id":
                setattr(part, name, token)
    if getattr(config, "is_encoder_decoder", False) and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = IDS["decoder_start_token_id"]
    if "classification" in task and "zero-shot" not in task and "num_labels" not in exceptions:
        config.num_labels = 5
    return config


def spread(model: Any) -> None:
    """Draw all weights so that every one of them matters: no constant, no zero, and outputs that differ by input."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    convolutions = {id(module.weight) for module in model.modules() if isinstance(module, _CONVOLUTIONS)}
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.requires_grad or weight.ndim == 0 or not weight.is_floating_point():
                continue
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1:
                weight.add_(0.1 * noise)
            elif id(weight) in embeddings:
                weight.copy_(0.6 * noise)
            else:
                inputs = weight[0].numel() if id(weight) in convolutions else weight.shape[-1]
                weight.copy_(noise / math.sqrt(inputs))


def _settle_generation(model: Any) -> None:
    generation = getattr(model, "generation_config", None)
    if generation is None:
        return
    for name in ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"):
        if hasattr(generation, name):
            setattr(generation, name, None)
        if hasattr(model.config, name):
            setattr(model.config, name, None)


def main() -> None:
    """Answer each job."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    for line in sys.stdin:
        job = json.loads(line)
        answer = {"type": job["type"]}
        try:
            if not Path(job["folder"]).exists():
                make(job["type"], job["task"], Path(job["folder"]))
        except Exception as error:  # noqa: BLE001 - whatever transformers raises for a config is the answer
            answer["error"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
