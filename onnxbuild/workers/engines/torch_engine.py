"""The PyTorch model that a variant was exported from, run by the same stages and names as its ONNX graphs."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.compiling.pooled_outputs import pooled_by
from onnxbuild.workers.engines.engine import PAST_IDS, Arrays, Device, Graphs
from onnxbuild.workers.engines.loading import Loaded, watched
from onnxbuild.workers.engines.named_outputs import name_outputs
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel, onnx_files
from onnxbuild.workers.engines.own_state import OwnState
from onnxbuild.workers.engines.pooled_reference import PooledReference
from onnxbuild.workers.engines.task_classes import class_of
from onnxbuild.workers.engines.torch_pasts import contradicts_itself, encoded_as, keeps_states, read_on
from onnxbuild.workers.folders.model_graphs import data_below
from onnxbuild.workers.libraries.imagegpt_positions import count_positions

_SENTENCE_OUTPUTS = {"token_embeddings", "sentence_embedding"}
_HALVES: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NOT_EXPORTED = ("past_key_values", "hidden_states", "attentions")  # the ends of names of tuples of tensors


class TorchModel:
    """A PyTorch model in evaluation mode, in fp32 or in `dtype`; `compiled` runs it through torch.compile.

    `loads` says which weights the checkpoint lacks. `whole_cache`: an encoder-decoder also passes on the keys of its
    encoder; one that consists of two models (an image's and a text's) computes them in every step.
    """

    def __init__(
        self,
        model: Any,
        *,
        load_seconds: float,
        device: Device = "cpu",
        compiled: bool = False,
        any_length: bool = False,
        dtype: str = "",
        loads: Sequence[Loaded] = (),
        whole_cache: bool = True,
        again: Callable[[], Any] | None = None,
    ) -> None:
        """Take a loaded model, which several engines may share; `again` loads it anew."""
        self.loads = tuple(loads)
        self._again = again
        self._whole_cache = whole_cache
        self.name = "torch.compile" if compiled else f"torch.{dtype}" if dtype else "torch"
        self._dtype = _HALVES.get(dtype)
        self.load_seconds = load_seconds
        self.model = model.to(device).eval()
        self._device = device
        self._takes = set(inspect.signature(model.forward).parameters)
        self._call = torch.compile(self.model, dynamic=any_length) if compiled else self.model
        self._own_state: OwnState | None = None

    def compile(self, *, any_length: bool = False) -> Self:
        """The same weights, run through torch.compile: for each shape by itself, or once for texts of any length."""
        return type(self)(
            self.model,
            load_seconds=self.load_seconds,
            device=self._device,
            compiled=True,
            any_length=any_length,
            whole_cache=self._whole_cache,
        )

    def halved(self, dtype: Literal["bf16", "fp16"]) -> Self:
        """A copy with weights and inputs of 16 bits, which computes in them wherever PyTorch has a kernel for it."""
        return type(self)(
            copy.deepcopy(self.model).to(_HALVES[dtype]),
            load_seconds=self.load_seconds,
            device=self._device,
            dtype=dtype,
            whole_cache=self._whole_cache,
        )

    def renew(self) -> None:
        """Put back what runs have changed of the model since the first call of this; weights from the checkpoint."""
        if self._own_state is None:
            self._own_state = OwnState(self.model)
        if self._own_state.lost_weights() and self._again is not None:
            self.model.load_state_dict(self._again().state_dict())
            self._own_state.lost_weights()  # the versions after this change are the right ones
        self._own_state.restore()

    def threads_used(self) -> int:
        """Threads that PyTorch computes with, as it reports them."""
        return int(torch.get_num_threads())

    def prepare(self, stage: str, feeds: Arrays) -> Callable[[], Any]:
        """A call that runs the stage; tensors are created here, the cache's wrapper (microseconds) in the call."""
        tensors = {name: self._tensor(value) for name, value in feeds.items()}
        run = _STAGES.get(stage, _forward)(self, tensors)
        if self._device == "cpu":
            return _without_gradients(run)

        def synchronized() -> Any:
            outputs = run()
            torch.cuda.synchronize()
            return outputs

        return _without_gradients(synchronized)

    def _tensor(self, value: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(value)).to(self._device)
        return tensor.to(self._dtype) if self._dtype is not None and tensor.is_floating_point() else tensor

    def run(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Outputs of a stage under the names that an export gives them."""
        outputs = self._exact(stage, feeds)()
        if stage == "encoder":
            return {"last_hidden_state": _numpy(outputs[0])}
        named = {name: _numpy(value) for name, value in _tensors(outputs)}
        return named | {name: _numpy(value) for name, value in self._cache_of(outputs).items()}

    def _exact(self, stage: str, feeds: Arrays) -> Callable[[], Any]:
        """The call that gives the right values, which is not the one to time where steps on a cache contradict it."""
        if PAST_IDS not in feeds or not contradicts_itself(self.model):
            return self.prepare(stage, feeds)
        tensors = {name: self._tensor(value) for name, value in feeds.items()}
        return _without_gradients(read_on(self._call, self._takes, tensors, at_once=True))

    def _cache_of(self, outputs: Any) -> dict[str, Any]:
        if keeps_states(self.model, self._takes):
            return {}
        cache = outputs.get("past_key_values")
        if not self._whole_cache and isinstance(cache, EncoderDecoderCache):
            cache = cache.self_attention_cache
        return _cache_outputs(cache)


class SentenceModel(TorchModel):
    """A SentenceTransformer: its modules return `token_embeddings` and `sentence_embedding`, as its export does."""

    def prepare(self, stage: str, feeds: Arrays) -> Callable[[], Any]:
        """A call on the features that the modules take; they add to their mapping, so each call gets a copy."""
        del stage
        taken = ("input_ids", "attention_mask", "token_type_ids")
        tensors = {name: torch.from_numpy(np.array(feeds[name])).to(self._device) for name in taken if name in feeds}
        return _without_gradients(lambda: self._call(dict(tensors)))

    def run(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """The two outputs of an export."""
        outputs = self.prepare(stage, feeds)()
        return {name: _numpy(outputs[name]) for name in sorted(_SENTENCE_OUTPUTS)}


def variant_of(plain: TorchModel, name: str, *, any_length: bool = False) -> TorchModel:
    """The baseline of this name, which shares or copies the weights of the plain one."""
    if name == "torch.compile":
        return plain.compile(any_length=any_length)
    if name == "torch.bf16":
        return plain.halved("bf16")
    return plain.halved("fp16") if name == "torch.fp16" else plain


def is_onnx(folder: Path) -> bool:
    """Whether a reference is the ONNX model that a variant was made from, rather than a checkpoint."""
    weights = {path.name for pattern in ("*.safetensors", "*.bin", "*.pt") for path in folder.glob(pattern)}
    return bool(onnx_files(folder)) and not weights - data_below(folder)  # a graph may have its weights in such a file


def open_reference(
    folder: Path, task: str, variant: Graphs, *, threads: int, device: Device = "cpu", trusts_code: bool = False
) -> Any:
    """The engine to compare a variant with: PyTorch for a checkpoint, ONNX Runtime for an ONNX folder."""
    if is_onnx(folder):
        return OnnxModel(folder, threads=threads, device=device)
    torch.set_num_threads(threads)
    return load_torch(folder, task, variant, device=device, trusts_code=trusts_code)


def load_torch(
    folder: Path, task: str, variant: Graphs, *, device: Device = "cpu", trusts_code: bool = False
) -> TorchModel:
    """The checkpoint as the class that the variant was exported from; its own code runs only where it is trusted.

    Errors: CheckFailed OBE01 for an unknown task, OBE82 for a type that the task's class does not know.
    """
    from onnxbuild.workers.engines.library_models import open_library_model

    other = open_library_model(folder, task, device=device)
    if other is not None:
        return other
    start = time.perf_counter()
    sentences = bool(_SENTENCE_OUTPUTS & set(variant.outputs(variant.first)))
    again = functools.partial(
        _load_sentences if sentences else _load, folder, task, variant, device=device, trusts_code=trusts_code
    )
    with watched(folder, keep=True) as loads:
        model = again()
    if not sentences:
        name_outputs(model)
        count_positions(model)
        _lend_padding(model, variant.folder)
    return (SentenceModel if sentences else TorchModel)(
        model,
        load_seconds=time.perf_counter() - start,
        device=device,
        loads=loads,
        whole_cache=not ("decoder" in variant.stages and "present.0.key" in variant.outputs("decoder")),
        again=again,
    )


def _load(folder: Path, task: str, variant: Graphs, *, device: Device, trusts_code: bool) -> Any:
    del device  # the engine moves it
    loader = model_class(task, variant)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusts_code}
    try:
        model = loader.from_pretrained(folder, dtype=torch.float32, **options)
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise CheckFailed(
            "OBE82",
            f"transformers loads the checkpoint with no class for `{task}`, so there is nothing to compare with",
            notes=[("hint", "`validate: false` delivers the model without the comparison")],
        ) from error
    pooled = pooled_by(variant.outputs(variant.first))
    return model if pooled is None else PooledReference(model, pooled)


def _load_sentences(folder: Path, task: str, variant: Graphs, *, device: Device, trusts_code: bool) -> Any:
    del task, variant
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device=device, local_files_only=True, trust_remote_code=trusts_code)
    return model.float()


def _lend_padding(model: Any, exported: Path) -> None:
    """Give a classifier the export's id of padding if the checkpoint has none: it finds its last token by it."""
    path = exported / "config.json"
    if getattr(model.config, "pad_token_id", None) is None and path.is_file():
        model.config.pad_token_id = json.loads(path.read_text(encoding="utf-8")).get("pad_token_id")


def model_class(task: str, variant: Graphs) -> Any:
    """The class of transformers for a task; a speech model of one graph without a decoder is a CTC model."""
    return class_of(task, ctc=variant.stages == ("forward",))


def _forward(engine: TorchModel, tensors: dict[str, Any]) -> Callable[[], Any]:
    kwargs = {name: value for name, value in tensors.items() if name in engine._takes}  # noqa: SLF001 - same module
    if "use_cache" in engine._takes:  # noqa: SLF001
        kwargs["use_cache"] = False
    return lambda: engine._call(**kwargs)  # noqa: SLF001


def _causal(engine: TorchModel, tensors: dict[str, Any]) -> Callable[[], Any]:
    kwargs = {name: value for name, value in tensors.items() if name in engine._takes}  # noqa: SLF001
    past = _pairs(tensors)
    if keeps_states(engine.model, engine._takes):  # noqa: SLF001
        return read_on(engine._call, engine._takes, tensors)  # noqa: SLF001
    return lambda: engine._call(**kwargs, past_key_values=_cache(past), use_cache=True)  # noqa: SLF001


def _encode(engine: TorchModel, tensors: dict[str, Any]) -> Callable[[], Any]:
    encoder = engine.model.get_encoder()
    takes = set(inspect.signature(encoder.forward).parameters)
    kwargs = {name: value for name, value in tensors.items() if name in takes}
    return lambda: encoder(**kwargs)


def _decode(engine: TorchModel, tensors: dict[str, Any]) -> Callable[[], Any]:
    self_past, cross_past = _pairs(tensors, "decoder.") or _pairs(tensors), _pairs(tensors, "encoder.")
    kwargs = {"decoder_input_ids": tensors["input_ids"]}
    kwargs["encoder_outputs"] = encoded_as(engine.model, tensors["encoder_hidden_states"])
    if "encoder_attention_mask" in tensors and "attention_mask" in engine._takes:  # noqa: SLF001
        kwargs["attention_mask"] = tensors["encoder_attention_mask"]

    def call() -> Any:
        cache = EncoderDecoderCache(_cache(self_past), _cache(cross_past))
        return engine._call(**kwargs, past_key_values=cache, use_cache=True)  # noqa: SLF001

    return call


def _see(engine: TorchModel, tensors: dict[str, Any]) -> Callable[[], Any]:
    """The encoder of pictures of a model such as SAM, with the positions that its decoder of masks takes."""
    pixels = tensors["pixel_values"]

    def call() -> Any:
        positions = engine.model.get_image_wide_positional_embeddings().repeat(len(pixels), 1, 1, 1)
        embeddings = engine.model.get_image_embeddings(pixels)
        return {"image_embeddings": embeddings, "image_positional_embeddings": positions}

    return call


def _cut_out(engine: TorchModel, tensors: dict[str, Any]) -> Callable[[], Any]:
    kwargs = {name: tensors[name] for name in ("input_points", "input_labels", "image_embeddings")}
    return lambda: engine._call(**kwargs)  # noqa: SLF001


_STAGES: Mapping[str, Callable[[TorchModel, dict[str, Any]], Callable[[], Any]]] = {
    "prefill": _causal, "decode": _causal, "encoder": _encode,
    "decoder": _decode, "decoder_step": _decode, "merged": _decode, "merged_step": _decode,
    "vision_encoder": _see, "mask_decoder": _cut_out,
}  # fmt: skip


def _pairs(tensors: Mapping[str, Any], kind: str = "") -> list[tuple[Any, Any]]:
    """Keys and values of each layer, from feeds named `past_key_values.0.decoder.key` and so on."""
    pairs: list[tuple[Any, Any]] = []
    while (key := f"past_key_values.{len(pairs)}.{kind}") + "key" in tensors:
        pairs.append((tensors[key + "key"], tensors[key + "value"]))
    return pairs


def _cache(pairs: list[tuple[Any, Any]]) -> DynamicCache:
    cache = DynamicCache()
    for layer, (key, value) in enumerate(pairs):
        cache.update(key, value, layer)
    return cache


def _cache_outputs(cache: Any) -> dict[str, Any]:
    """A cache under the names of an export: `present.0.key`, or `present.0.decoder.key` and `present.0.encoder.key`."""
    if cache is None:
        return {}
    if isinstance(cache, EncoderDecoderCache):
        parts = {"decoder.": cache.self_attention_cache, "encoder.": cache.cross_attention_cache}
    else:
        parts = {"": cache}
    return {
        f"present.{number}.{kind}{end}": tensor
        for kind, part in parts.items()
        for number, layer in enumerate(part.layers)
        for end, tensor in (("key", layer.keys), ("value", layer.values))
    }


def _tensors(outputs: Any) -> Iterator[tuple[str, Any]]:
    """The tensors among a model's outputs; those of a tuple, such as one for each vocabulary, are numbered."""
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, tuple) and not name.endswith(_NOT_EXPORTED):
            yield from ((f"{name}.{number}", one) for number, one in enumerate(value) if isinstance(one, torch.Tensor))


def _without_gradients(call: Callable[[], Any]) -> Callable[[], Any]:
    def inner() -> Any:
        with torch.inference_mode():
            return call()

    return inner


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()  # type: ignore[no-any-return]
