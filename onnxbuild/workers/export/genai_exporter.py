"""Export with onnxruntime-genai's model builder: a text decoder with fused attention, for genai and ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from msgspec import UNSET

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams

_PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "q8": "int8", "q4": "int4"}


def export(checkpoint: Path, destination: Path, params: ExportParams) -> None:
    """Write `model.onnx`, its data, and the `genai_config.json` that onnxruntime-genai reads."""
    from onnxruntime_genai.models import builder

    precision = _PRECISIONS[params.dtype]
    provider = "cpu" if params.provider is UNSET else params.provider
    with TemporaryDirectory(prefix="onnxbuild-genai-") as cache:
        place = ("", str(checkpoint), str(destination), precision, provider, cache)
        prepared = builder.parse_extra_options(*place, list(_options(params)))
        try:
            builder.create_model(*place, **prepared)
        except ValueError as error:
            if "backend tokenizer" in str(error):
                raise _without_tokenizer() from error
            raise
    if not any(checkpoint.glob("*token*")):
        _drop_empty_tokenizer(destination)
    _fix_head_size(destination / "model.onnx", _head_size(destination))


def _without_tokenizer() -> CheckFailed:
    return CheckFailed(
        "OBE101",
        "genai's builder saves the tokenizer beside the model, and the checkpoint has none that can be loaded",
        notes=[("hint", "save it into the checkpoint with `tokenizer.save_pretrained`, or choose another exporter")],
    )


def _drop_empty_tokenizer(destination: Path) -> None:
    """The builder saves a tokenizer without words for a checkpoint that has none."""
    for path in destination.glob("*token*.json"):
        path.unlink()


def _options(params: ExportParams) -> Iterator[str]:
    yield "hf_token=false"  # it requires a token even if nothing is downloaded
    yield f"hf_remote={str(params.trusts_code).lower()}"
    for name, value in sorted(({} if params.options is UNSET else params.options).items()):
        yield f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def _head_size(folder: Path) -> int:
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    return int(config["model"]["decoder"]["head_size"])


def _fix_head_size(path: Path, size: int) -> None:
    """Fix the width of keys and values, which the builder leaves dynamic: an empty past needs it."""
    model = onnx.load(path, load_external_data=False)
    changed = False
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == "kv_cache_dim":
                axis.dim_value = size
                changed = True
    if changed:
        path.write_bytes(model.SerializeToString(deterministic=True))
