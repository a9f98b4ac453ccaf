"""What a provider is told when it loads a graph, in the words of its documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import CompiledStage
from onnxbuild.steps.compiling.provider_backends import FixedParams, ProviderParams, TensorrtParams
from onnxbuild.steps.compiling.sizes_of_calls import PROFILES

# Without it, CUDA multiplies fp32 in TF32, which has 10 bits of mantissa.
_FIRST: Mapping[str, Mapping[str, str]] = {
    "cuda": {"use_tf32": "0"},
    "coreml": {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"},
}
_TYPES: Mapping[str, Mapping[str, str]] = {
    "fp16": {"trt_fp16_enable": "1"}, "bf16": {"trt_bf16_enable": "1"}, "int8": {"trt_int8_enable": "1"}, "fp32": {},
}  # fmt: skip
_OF_TOKENS = 2  # axes of an input of rows and tokens
_SAMPLES = frozenset({"input_values"})  # a row of sound has thousands of samples, and no tokens


def options_of(params: ProviderParams, stages: Mapping[str, CompiledStage]) -> dict[str, str]:
    """The options of the provider; those that a person wrote go last.

    Errors: CheckFailed OBE238 for TensorRT and inputs that are no rows of tokens, unless profiles are written.
    """
    own = _of_tensorrt(params, stages) if isinstance(params, TensorrtParams) else {}
    return {**_FIRST.get(str(params.provider), {}), **own, **params.options}


def _of_tensorrt(params: TensorrtParams, stages: Mapping[str, CompiledStage]) -> dict[str, str]:
    cache = {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"} if params.engine_cache else {}
    shapes = {"min": params.shapes.min, "opt": params.shapes.opt, "max": params.shapes.max}
    inputs = {name: one.shape for stage in stages.values() for name, one in stage.inputs.items()}
    if not any(name in params.options for name in PROFILES):
        _check_inputs(inputs)
    profiles = {f"trt_profile_{name}_shapes": _profile(inputs, sizes) for name, sizes in shapes.items()}
    return {**_TYPES[params.precision], **cache, **{name: text for name, text in profiles.items() if text}}


def _check_inputs(inputs: Mapping[str, Sequence[int | str]]) -> None:
    """OBE238 for an input whose free sizes are not rows and tokens, and for a past: `shapes` cannot say their sizes."""
    for name, shape in inputs.items():
        others = [one for one in shape[_OF_TOKENS:] if isinstance(one, str)]
        strange = name.startswith("past_key_values") or bool(others) or name in _SAMPLES
        if strange and _is_free(shape):
            message = f"`shapes` gives rows and tokens, and `{name}` has the sizes {'x'.join(map(str, shape))}"
            hint = "compile an encoder of texts, or a graph whose other sizes are fixed; `compile: cuda` takes any size"
            raise CheckFailed("OBE238", message, notes=[("hint", hint)])


def _profile(inputs: Mapping[str, Sequence[int | str]], sizes: Sequence[int]) -> str:
    """A shape of each input with named dimensions, as `input_ids:1x128,attention_mask:1x128`."""
    return ",".join(f"{name}:{_shape(shape, sizes)}" for name, shape in inputs.items() if _is_free(shape))


def _is_free(shape: Sequence[int | str]) -> bool:
    return any(isinstance(one, str) for one in shape)


def _shape(shape: Sequence[int | str], sizes: Sequence[int]) -> str:
    """The first named dimension is the rows, and the second one the tokens."""
    return "x".join(str(one if isinstance(one, int) else sizes[min(place, 1)]) for place, one in enumerate(shape))


def fixed_sizes(params: ProviderParams) -> tuple[int, int] | None:
    """Rows and tokens of a graph of one shape; None where shapes stay free."""
    return (params.batch, params.sequence) if isinstance(params, FixedParams) else None
