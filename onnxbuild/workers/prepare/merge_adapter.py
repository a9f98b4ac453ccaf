"""Merges an adapter of peft into its base model, in fp32, and checks that every weight of the adapter has a place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.tables.checkpoints.adapters import CONFIG, TASK_TYPES, base_of, is_merged, kind_of, weights_of
from onnxbuild.workers.engines.loading import some_of
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import carry_companions, files_below
from onnxbuild.workers.libraries.quiet import quiet

# The last part of the names under which transformers' classes keep their heads.
_HEADS = ("score.weight", "classifier.weight", "classifier.out_proj.weight", "qa_outputs.weight")


def merge(adapter: Path, base: Path, destination: Path, tell: Tell, *, trusts_code: bool = False) -> dict[str, Any]:
    """Write the base model with the adapter added to its weights; facts say which kind, and how many weights it has.

    Errors: CheckFailed OBE93 if the adapter does not fit the base, OBE94 if peft is missing.
    """
    config = _config(adapter)
    tell("loading libraries")
    with quiet():
        peft = _peft()
        tell("loading the base model")
        weights = _read(peft, adapter)
        model = _load(base, config, weights, trusts_code=trusts_code)
        tell("merging")
        try:
            wrapped = peft.PeftModel.from_pretrained(model, str(adapter), torch_device="cpu")
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            raise _misfit(config, str(error).partition("\n")[0]) from error
        _check_all_loaded(peft, wrapped, weights, config)
        merged = wrapped.merge_and_unload(safe_merge=True)
        tell("writing")
        merged.save_pretrained(destination, safe_serialization=True)
    # The adapter's tokenizer may have tokens that were added for the training.
    carry_companions(adapter, destination)
    carry_companions(base, destination)
    return {"merged": kind_of(config), "adapter_of": base_of(config), "adapter_weights": len(weights)}


def _config(adapter: Path) -> dict[str, Any]:
    names = files_below(adapter)
    if weights_of(names) is None:
        raise CheckFailed("OBE16", "the adapter lacks its config or its weights", notes=[("holds", ", ".join(names))])
    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not is_merged(kind_of(config)):
        kind = kind_of(config) if isinstance(config, dict) else ""
        raise _misfit({}, f"an adapter of the kind `{kind}` has nothing to merge")
    return config


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise
        hint = "`pip install 'onnxbuild[adapters]'`, or add `peft` to the requirements of the model's toolchain"
        raise CheckFailed("OBE94", "merging an adapter needs peft", notes=[("hint", hint)]) from error
    return peft


def _read(peft: Any, adapter: Path) -> Mapping[str, Any]:
    from peft.utils.save_and_load import load_peft_weights

    del peft
    weights: Mapping[str, Any] = load_peft_weights(str(adapter), device="cpu")
    return weights


def _load(base: Path, config: Mapping[str, Any], weights: Mapping[str, Any], *, trusts_code: bool) -> Any:
    """The base model as the class that the adapter was trained with, in fp32."""
    import torch
    import transformers

    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "trust_remote_code": trusts_code}
    task_type = str(config.get("task_type"))
    labels = _labels(weights)
    if task_type in {"SEQ_CLS", "TOKEN_CLS"} and labels is not None:
        options["num_labels"] = labels
    loader = getattr(transformers, TASK_TYPES.get(task_type, ("", ""))[1] or _own_class(base), transformers.AutoModel)
    model = loader.from_pretrained(base, **options)
    rows = next((one.shape[0] for name, one in weights.items() if name.endswith(_embedding(model))), None)
    if rows is not None and rows != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows)  # tokens were added for the training
    return model


def _own_class(base: Path) -> str:
    return str((read_config(base).get("architectures") or ["AutoModel"])[0])


def _labels(weights: Mapping[str, Any]) -> int | None:
    """The number of labels of the head that an adapter brings: its config does not say."""
    return next((one.shape[0] for name, one in weights.items() if name.endswith(_HEADS)), None)


def _embedding(model: Any) -> str:
    """How the name of the input embeddings ends."""
    embeddings = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embeddings)
    return f"{name.rpartition('.')[2]}.weight"


def _check_all_loaded(peft: Any, wrapped: Any, weights: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """OBE93 where peft is silent: it leaves out weights without a place, and starts missing ones at random."""
    held = set(peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    unplaced = sorted(weights.keys() - held - {name for name in weights if name.endswith(_embedding(wrapped))})
    if unplaced:
        raise _misfit(config, f"the model has no place for {some_of(unplaced)}")
    lacking = sorted(held - weights.keys())
    if lacking:
        raise _misfit(config, f"it lacks {some_of(lacking)}")


def _misfit(config: Mapping[str, Any], why: str) -> CheckFailed:
    base = base_of(config)
    hint = (
        f"it was trained for `{base}`: name that model as the source" if base else "name the model that it belongs to"
    )
    return CheckFailed("OBE93", f"the adapter does not fit the base model: {why}", notes=[("hint", hint)])
