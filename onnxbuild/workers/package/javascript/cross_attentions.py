"""What a decoder sees of a recording, as outputs of its graph: the library aligns words with times by it.

An export without them computes them all the same, so that no second export is needed.
"""

from __future__ import annotations

import json
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.graphs.walk import has_branches

_NAME = "cross_attentions"
_AXES = ("batch_size", "heads", "decoder_sequence_length", "encoder_sequence_length")


def add_cross_attentions(model: ModelProto, folder: Path) -> None:
    """Give a merged decoder the outputs `cross_attentions.0` …, in fp32. `model` is changed.

    Errors: CheckFailed OBE197 if the graph does not compute them, or nothing says which heads are aligned.
    """
    _check_heads(folder / "generation_config.json")
    layers = int(read_config(folder).get("decoder_layers") or 0)
    choices = [node for node in model.graph.node if has_branches(node)]
    if len(choices) != 1:
        raise _unaligned("the decoder is not one merged graph")
    for branch in (attribute.g for attribute in choices[0].attribute):
        _add_to_branch(branch, layers)
    choices[0].output.extend(f"{_NAME}.{number}" for number in range(layers))
    model.graph.output.extend(_value(number) for number in range(layers))


def _check_heads(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not config.get("alignment_heads"):
        raise _unaligned("generation_config.json has no `alignment_heads`")


def _add_to_branch(branch: GraphProto, layers: int) -> None:
    found = [node for node in branch.node if _is_cross_attention(node)]
    if len(found) != layers:
        raise _unaligned(f"the graph shows the attention of {len(found)} of its {layers} layers")
    for number, node in enumerate(found):
        branch.node.append(helper.make_node("Cast", [node.output[0]], [f"{_NAME}.{number}"], to=TensorProto.FLOAT))
        branch.output.append(_value(number))


def _is_cross_attention(node: NodeProto) -> bool:
    return node.op_type == "Softmax" and "encoder_attn" in node.name


def _value(number: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(f"{_NAME}.{number}", TensorProto.FLOAT, list(_AXES))


def _unaligned(why: str) -> CheckFailed:
    hint = "leave `word_timestamps` out, or `optimize` in the target, which fuses attention"
    return CheckFailed("OBE197", f"words get no times: {why}", notes=[("hint", hint)])
