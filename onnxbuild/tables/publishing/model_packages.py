"""What ONNX Runtime's model packages and onnxruntime-genai load."""

from __future__ import annotations

from collections.abc import Mapping

# The execution provider of a target's device, and what `component.json` calls the device.
PROVIDERS: Mapping[str, tuple[str, str]] = {
    "cpu": ("CPUExecutionProvider", "cpu"),
    "cuda": ("CUDAExecutionProvider", "gpu"),
}

# The first version of ONNX Runtime whose Python package opens model packages.
FIRST_WITH_PACKAGES = "1.32"

# Decoders that keep something besides keys and values, read in src/models of onnxruntime-genai 0.18. It feeds such
# states only under the names that its own builder gives, and only for some of these types.
_WITH_STATES = (
    "bamba falcon_h1 falcon_mamba granitemoehybrid jamba lfm2 lfm2_moe mamba mamba2 minimax nemotron_h olmo_hybrid"
    " qwen3_5_moe_text qwen3_5_text qwen3_next recurrent_gemma rwkv xlstm zamba zamba2"
)
# gpt_bigcode keeps keys and values in one tensor, which onnxruntime-genai feeds to its own type of GPT-2 only.
_WITH_ONE_TENSOR = "gpt_bigcode"


def why_not_genai(model_type: str) -> str | None:
    """Why onnxruntime-genai cannot run a decoder of a model type; None if nothing is known against it."""
    if model_type in _WITH_STATES.split():
        return f"{model_type} keeps states besides keys and values"
    if model_type == _WITH_ONE_TENSOR:
        return f"{model_type} keeps keys and values in one tensor"
    return None
