"""Random weights for a model type: the real architecture, seeded, with a tokenizer trained on a given text."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.tables.tasks import TASKS, is_speech_to_text, pooling_of
from onnxbuild.workers.engines.task_classes import auto_class
from onnxbuild.workers.fetch.random_parts import write_processor, write_sentence_modules
from onnxbuild.workers.fetch.random_tokenizer import Trained, train_tokenizer
from onnxbuild.workers.libraries.quiet import quiet

# Fields that a model reads although its default config lacks them; with these, DeBERTa v2 is v3.
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "modernbert": ("global_attn_every_n_layers",),  # removed from the config in transformers 5, and still read
    "deberta-v2": ("position_buckets", "norm_rel_ebd", "share_att_key", "conv_kernel_size", "conv_act", "conv_groups"),
}


def make_random(params: FetchParams, text: Path | None, destination: Path, tell: Tell) -> int:
    """Write a checkpoint with random weights, and a tokenizer if there is text; returns the number of parameters.

    Equal params and text give equal bytes. Errors: CheckFailed OBE02 for an architecture or a config that
    transformers does not accept, OBE51 for a vocabulary that the text cannot fill.
    """
    tell("loading libraries")
    with quiet():
        import torch

        trained = _tokenizer(params, text, destination, tell)
        config = _config(params, trained)
        tell("drawing weights")
        torch.manual_seed(params.seed)
        model = _build(_auto_class(params.task, config), config, params)
        model.eval()
        _start_with_padding(model)
        tell("writing")
        model.save_pretrained(destination, safe_serialization=True)
        write_processor(config, destination)
        if pooling_of(params.task) == "always":
            write_sentence_modules(config, destination)
    return int(sum(parameter.numel() for parameter in model.parameters()))


def _start_with_padding(model: Any) -> None:
    """Set the first token of a decoder whose config has no field for it, such as T5's from transformers 5 on."""
    config = model.config
    if getattr(config, "is_encoder_decoder", False) and not hasattr(config, "decoder_start_token_id"):
        model.generation_config.decoder_start_token_id = config.pad_token_id or 0


def _build(auto: Any, config: Any, params: FetchParams) -> Any:
    try:
        return auto.from_config(config)
    except (ValueError, AssertionError, RuntimeError, TypeError, ZeroDivisionError) as error:
        if "allocate memory" in str(error):  # torch raises RuntimeError; the sizes fit together and are too large
            raise
        if "Unrecognized configuration class" in str(error):
            raise CheckFailed(
                "OBE02", f"transformers has no {params.architecture} for the task `{params.task}`"
            ) from error
        raise CheckFailed("OBE02", f"the config of {params.architecture} is inconsistent: {error}") from error


def _auto_class(task: str, config: Any) -> Any:
    import transformers

    row = TASKS.get(task)
    if row is None:
        raise CheckFailed(
            "OBE01",
            f"`random:` needs a task that names a head, found `{task}`",
            notes=[("hint", f"set `task:`, one of {', '.join(TASKS)}")],
        )
    auto = auto_class(row.model_class)
    # A speech model without a decoder recognizes letter by letter (CTC).
    is_ctc = is_speech_to_text(task) and type(config) not in auto._model_mapping  # noqa: SLF001
    return transformers.AutoModelForCTC if is_ctc else auto


def _config(params: FetchParams, trained: Trained | None) -> Any:
    from transformers import AutoConfig

    _check_architecture(params.architecture)
    try:
        defaults = AutoConfig.for_model(params.architecture)
    except ValueError:  # an encoder-decoder of two models has no defaults in transformers 4: both must be given
        return _combined(params, trained)
    if hasattr(defaults, "encoder") and hasattr(defaults, "decoder"):
        return _combined(params, trained)
    _check_fields(params, defaults)
    settled = trained.config_for(defaults, params.config) if trained else params.config
    try:
        return AutoConfig.for_model(params.architecture, **settled)
    except (TypeError, ValueError) as error:
        raise CheckFailed("OBE02", f"the config of {params.architecture} is inconsistent: {error}") from error


def _check_architecture(architecture: str) -> None:
    from transformers import CONFIG_MAPPING

    if architecture not in CONFIG_MAPPING:
        near = did_you_mean(architecture, CONFIG_MAPPING)
        raise CheckFailed(
            "OBE02",
            f"transformers knows no architecture `{architecture}`",
            notes=[("hint", near or "use a model type such as `bert`, which is `model_type` in a config.json")],
        )


def _check_fields(params: FetchParams, defaults: Any) -> None:
    optional = _OPTIONAL.get(params.architecture, ())
    unknown = [key for key in params.config if not hasattr(defaults, key) and key not in optional]
    if unknown:
        hint = did_you_mean(unknown[0], vars(defaults))
        raise CheckFailed(
            "OBE02",
            f"the config of {params.architecture} has no `{unknown[0]}`",
            notes=[("hint", hint)] if hint else [],
        )


def _combined(params: FetchParams, trained: Trained | None) -> Any:
    from transformers import AutoConfig

    try:
        # The config removes `model_type` from the mappings that it gets.
        asked = AutoConfig.for_model(params.architecture, **deepcopy(dict(params.config)))
        settled = trained.config_for(asked, params.config) if trained else params.config
        config = AutoConfig.for_model(params.architecture, **deepcopy(dict(settled)))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckFailed("OBE02", f"the config of {params.architecture} is inconsistent: {error}") from error
    for name in ("pad_token_id", "eos_token_id"):
        setattr(config, name, getattr(config.decoder, name))
    names = ("decoder_start_token_id", "bos_token_id", "eos_token_id")
    start = (getattr(config.decoder, name, None) for name in names)
    config.decoder_start_token_id = next((token for token in start if token is not None), 0)
    return config


def _tokenizer(params: FetchParams, text: Path | None, destination: Path, tell: Tell) -> Trained | None:
    if params.tokenizer_vocabulary <= 0 or text is None:
        return None
    tell("training the tokenizer")
    return train_tokenizer(params.architecture, text, params.tokenizer_vocabulary, destination)
