"""genai: writes the folder that onnxruntime-genai runs.

The exporter `genai` has written `genai_config.json`. For graphs of other exporters it is written here, from the names
and shapes of the graph and from the configs beside it. Its `type` is `decoder`: the generic decoder of
onnxruntime-genai, which feeds ids, mask, positions, keys and values, under the names that the config gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.genai_package import GenaiParams
from onnxbuild.tables.positions import positions_of, text_part
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import carry_configs, folders_of, place_graphs

CONFIG = "genai_config.json"

_TEMPLATE, _TOKENIZER = "chat_template.jinja", "tokenizer_config.json"
_GRAPH = "model.onnx"
_FED = ("input_ids", "attention_mask", "position_ids")
_NUMBERED = re.compile(r"(\D*)(\d+)(\D*)")
_HEADS, _SIZE = 1, 3  # axes of keys and values: [batch, heads, past, size]

# What generation_config.json may say about sampling, and what holds without it.
_SEARCH: Mapping[str, Any] = {
    "do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0, "num_beams": 1, "num_return_sequences": 1, "length_penalty": 1.0,
}  # fmt: skip


def run(params: GenaiParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Copy the graph and what is beside it, and write `genai_config.json` unless the exporter did.

    Errors: CheckFailed OBE198 for a graph that onnxruntime-genai cannot feed.
    """
    package = outputs["package"]
    progress("copying the graph")
    for _, folder in folders_of(params.graphs, inputs):
        _check_one_graph(onnx_names(folder))
    place_graphs(params.graphs, inputs, package, lambda _name, _role: _GRAPH)
    carry_configs(params.graphs, inputs, package)
    _inline_template(package)
    written = not (package / CONFIG).is_file()
    config = _config(package, params) if written else _renamed(package)
    _write_json(package / CONFIG, config)
    return {"graphs": [_GRAPH], **closed(package), "config_of": "onnxbuild" if written else "the exporter"}


def _check_one_graph(names: tuple[str, ...]) -> None:
    if len(names) != 1:
        raise _unfit(f"the target has {len(names)} graphs ({', '.join(names)}), and a decoder is one")


def _renamed(package: Path) -> dict[str, Any]:
    """The exporter's config, with the name that the graph has in the package."""
    config: dict[str, Any] = json.loads((package / CONFIG).read_text(encoding="utf-8"))
    config["model"]["decoder"]["filename"] = _GRAPH
    return config


def _config(package: Path, params: GenaiParams) -> dict[str, Any]:
    config = read_config(package)
    text = text_part(config)
    generation = _read_json(package / "generation_config.json")
    length = _context_length(config, params)
    ends = _as_list(generation.get("eos_token_id", text.get("eos_token_id")))
    pad = generation.get("pad_token_id", text.get("pad_token_id"))
    model = {
        "type": "decoder",
        "bos_token_id": _first([generation.get("bos_token_id"), text.get("bos_token_id"), *ends, 0]),
        "eos_token_id": ends,
        "pad_token_id": _first([pad, *ends, 0]),
        "vocab_size": text.get("vocab_size", 0),
        "context_length": length,
        "decoder": _decoder(package / _GRAPH, text),
    }
    search = {name: _first([generation.get(name), default]) for name, default in _SEARCH.items()}
    # The graph returns keys and values in new arrays; only graphs with fused attention write into those they get.
    search |= {"min_length": 0, "max_length": length, "early_stopping": True, "past_present_share_buffer": False}
    return {"model": model, "search": search}


def _context_length(config: Mapping[str, Any], params: GenaiParams) -> int:
    limits = [positions_of(config), None if params.max_length is UNSET else params.max_length]
    known = min((one for one in limits if one is not None), default=None)
    if known is None:
        raise _unfit("config.json does not say how many tokens the model accepts, and the export has no `max_length`")
    return known


def _decoder(path: Path, text: Mapping[str, Any]) -> dict[str, Any]:
    """What the config says of the graph: names of inputs and outputs, and the sizes of keys and values."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    stored = {one.name for one in graph.initializer}
    inputs = {one.name: one for one in graph.input if one.name not in stored}
    outputs = [one.name for one in graph.output]
    cached = [name for name in inputs if name not in _FED]
    if "input_ids" not in inputs or "logits" not in outputs or not cached:
        raise _unfit("the graph does not take `input_ids` with keys and values and return `logits`")
    pasts = _numbered(cached, "takes", "feed")
    presents = _numbered([name for name in outputs if name != "logits"], "returns", "read")
    if presents.keys() != pasts.keys() or any(len(presents[one]) != len(pasts[one]) for one in pasts):
        raise _unfit("the graph returns other keys and values than it takes")
    layers = pasts["key"]
    sizes = [one.dim_value for one in inputs[layers[0]].type.tensor_type.shape.dim]
    if len(sizes) <= _SIZE or not sizes[_HEADS] or not sizes[_SIZE]:
        raise _unfit(f"`{layers[0]}` has the sizes {sizes} instead of [batch, heads, past, head]")
    heads = _first([text.get("num_attention_heads"), text.get("n_head"), sizes[_HEADS]])
    return {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": _GRAPH,
        "head_size": sizes[_SIZE],
        "hidden_size": _first([text.get("hidden_size"), text.get("n_embd"), heads * sizes[_SIZE]]),
        "num_attention_heads": heads,
        "num_hidden_layers": len(layers),
        "num_key_value_heads": sizes[_HEADS],
        "inputs": {
            **{name: name for name in _FED if name in inputs},
            **{f"past_{kind}_names": _pattern(names) for kind, names in pasts.items()},
        },
        "outputs": {
            "logits": "logits",
            **{f"present_{kind}_names": _pattern(names) for kind, names in presents.items()},
        },
    }


def _numbered(names: Iterable[str], verb: str, use: str) -> dict[str, list[str]]:
    """The names of keys and of values, of each layer. Errors: CheckFailed OBE198 for another name."""
    found: dict[str, list[str]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        kind = next((one for one in ("key", "value") if match and match[3].endswith(one)), None)
        if kind is None:
            raise _unfit(f"the graph {verb} `{name}`, which onnxruntime-genai does not {use}")
        found.setdefault(kind, []).append(name)
    if found and (found.keys() != {"key", "value"} or len(found["key"]) != len(found["value"])):
        raise _unfit(f"the graph {verb} keys without values, or values without keys")
    return found


def _pattern(names: list[str]) -> str:
    """`past_key_values.%d.key` for the names of all layers. Errors: CheckFailed OBE198 if there is no such pattern."""
    patterns = {_NUMBERED.sub(r"\1%d\3", name) for name in names}
    if len(patterns) != 1:
        raise _unfit(f"the names of keys and values differ in more than the layer: {', '.join(sorted(patterns))}")
    return patterns.pop()


def _inline_template(package: Path) -> None:
    """Put the chat template, which newer tokenizers keep in a file of its own, where onnxruntime-genai reads it."""
    template, config = package / _TEMPLATE, _read_json(package / _TOKENIZER)
    if template.is_file() and config and "chat_template" not in config:
        _write_json(package / _TOKENIZER, {**config, "chat_template": template.read_text(encoding="utf-8")})


def _unfit(why: str) -> CheckFailed:
    return CheckFailed("OBE198", f"onnxruntime-genai cannot run the graph: {why}")


def _first(values: list[Any]) -> Any:
    return next(one for one in values if one is not None)


def _as_list(value: Any) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
