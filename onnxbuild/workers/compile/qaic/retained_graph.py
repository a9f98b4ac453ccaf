"""A decoder as the card runs it: `past_key.N` goes in, `past_key.N_RetainedState` comes out and stays on the card.

Written from the classes of transformers as they are, with standard operators of opset 17, or of the opset that belongs
to an older SDK. QEfficient writes operators of its own in their place (CtxScatter, CtxGather, CustomRMSNorm), which the
compiler knows.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor, nn

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.compiling.cloud_ai_families import DECODERS, rope_that_varies
from onnxbuild.tables.positions import positions_of
from onnxbuild.workers.compile.qaic.placed_cache import PlacedCache, mask_of

OPSET = 17
GRAPH = "model.onnx"


class CacheShape(Struct, frozen=True):
    """The cache of a model: layers, heads of keys and values, and the size of a head."""

    layers: int
    heads: int
    size: int


def cache_shape(config: Any) -> CacheShape:
    """The cache of a config. A head may have another size than the hidden size divided by the heads."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return CacheShape(config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or heads, size)


def windows(config: Any) -> Mapping[str, int | None]:
    """The window of each type of layer, None for all that came before; one type if all layers are alike."""
    width = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is None:
        return {"all": width}
    return {kind: width if kind == "sliding_attention" else None for kind in dict.fromkeys(types)}


class RetainedDecoder(nn.Module):  # type: ignore[misc]
    """A causal language model with its cache as flat inputs, which returns the logits of the last position alone."""

    def __init__(self, model: Any) -> None:
        """Wrap a model of transformers that has eager attention."""
        super().__init__()
        self.model, self.config = model, model.config
        self._windows = windows(model.config)

    def forward(self, input_ids: Tensor, position_ids: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """`rest` is the batch index, if there is one, and then the key and the value of each layer."""
        batch_index = rest[0] if len(rest) % 2 else None
        flat = rest[len(rest) % 2 :]
        cache = PlacedCache(list(zip(flat[::2], flat[1::2], strict=True)), position_ids, batch_index)
        hidden = _body(self.model)(
            input_ids=input_ids,
            position_ids=position_ids.clamp(min=0),
            attention_mask=self._mask(position_ids, flat[0].shape[2]),
            past_key_values=cache,
            # Its values are not used, since positions and mask are given; without it, the length of the past is asked.
            cache_position=torch.arange(input_ids.shape[1]),
            use_cache=True,
        ).last_hidden_state
        return (self._logits(hidden, position_ids), *(state for layer in cache.past for state in layer))

    def _mask(self, positions: Tensor, context: int) -> Any:
        masks = {kind: mask_of(positions, context, width) for kind, width in self._windows.items()}
        return masks["all"] if "all" in masks else masks if _takes_masks_by_type(self.config) else _only(masks)

    def _logits(self, hidden: Tensor, positions: Tensor) -> Tensor:
        last = positions.to(torch.int32).argmax(1, keepdim=True)
        state = hidden.gather(1, last[:, :, None].expand(-1, -1, hidden.shape[2]))
        # One position, and the shape says so: the gathered axis would be of unknown length.
        logits = self.model.get_output_embeddings()(state[:, 0])[:, None].float()
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap


def _body(model: Any) -> Any:
    """The model without its head. Gemma 3 names a prefix that its class for text alone does not have."""
    return model.model if model.base_model is model else model.base_model


def _takes_masks_by_type(config: Any) -> bool:
    return bool(DECODERS[config.model_type].masks_by_type)


def _only(masks: Mapping[str, Tensor]) -> Tensor:
    assert len(masks) == 1, "BUG: layers of several types, and the model takes one mask"
    return next(iter(masks.values()))


def state_names(layers: int) -> list[str]:
    """The names of the cache's inputs, in the order of the graph."""
    return [f"{part}.{layer}" for layer in range(layers) for part in ("past_key", "past_value")]


def export_decoder(
    checkpoint: Path, folder: Path, *, batched: bool, context: int, trusts_code: bool, opset: int = OPSET
) -> Any:
    """Write the graph of a checkpoint to `folder`; return its config. `batched`: with `batch_index`.

    Errors: CheckFailed OBE240 for a family, a form of rotary positions or a length that this producer cannot write.
    """
    model = _loaded(checkpoint, trusts_code=trusts_code)
    positions = positions_of(model.config.to_dict())
    if positions is not None and context > positions:
        message = f"a cache of {context} tokens is longer than the model's {positions} positions"
        raise CheckFailed("OBE240", message, notes=[("hint", f"write `ctx_len: {positions}`")])
    shape = cache_shape(model.config)
    rows = 3 if batched else 2
    past = [torch.zeros(rows, shape.heads, context, shape.size) for _ in range(2 * shape.layers)]
    ids = torch.ones(2, 3, dtype=torch.int64)
    positions = torch.tensor([[0, 1, 2], [0, 1, -1]])
    index = (torch.tensor([[2], [0]]),) if batched else ()
    names = ["input_ids", "position_ids", *(("batch_index",) if batched else ()), *state_names(shape.layers)]
    outputs = ["logits", *(f"{name}_RetainedState" for name in state_names(shape.layers))]
    feeds = (ids, positions, *index, *past)
    write_graph(RetainedDecoder(model), feeds, folder, names, outputs, _axes(names, batched), opset=opset)
    return model.config


def _axes(names: list[str], batched: bool) -> dict[str, dict[int, str]]:  # noqa: FBT001  (private)
    rows = "full_batch_size" if batched else "batch_size"
    tokens = {name: {0: "batch_size", 1: "seq_len"} for name in ("input_ids", "position_ids")}
    index = {"batch_index": {0: "batch_size"}} if batched else {}
    past = {name: {0: rows, 2: "ctx_len"} for name in names if name.startswith("past_")}
    states = {f"{name}_RetainedState": axes for name, axes in past.items()}
    return {**tokens, **index, **past, **states, "logits": {0: "batch_size"}}


def write_graph(
    module: nn.Module,
    feeds: tuple[Tensor, ...],
    folder: Path,
    inputs: list[str],
    outputs: list[str],
    axes: Mapping[str, Mapping[int, str]],
    *,
    opset: int = OPSET,
) -> None:
    """Trace a module and write `GRAPH`, with its weights beside it where a protobuf cannot hold them."""
    with torch.inference_mode(), warnings.catch_warnings():
        # That TorchScript is the older exporter, and that positions of the mask become constants, as they should.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            feeds,
            str(folder / GRAPH),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: dict(of) for name, of in axes.items()},
            opset_version=opset,
            dynamo=False,
        )


def _loaded(checkpoint: Path, *, trusts_code: bool) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusts_code}
    config = AutoConfig.from_pretrained(checkpoint, **options)
    if config.model_type not in DECODERS:
        known = ", ".join(DECODERS)
        message = f"onnxbuild cannot write a decoder of `{config.model_type}` for Cloud AI 100"
        raise CheckFailed("OBE240", message, notes=[("hint", f"it can for {known}; or write `producer: qefficient`")])
    kind = rope_that_varies(config.to_dict())
    if kind is not None:
        message = f"`rope_scaling` of type `{kind}` depends on the length of the text, and the graph has one length"
        raise CheckFailed("OBE240", message, notes=[("hint", "write `producer: qefficient`")])
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager", **options
    )
    return model.eval()
