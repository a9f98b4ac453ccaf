"""What the tensors of a graph contain while it reads data: minimum and maximum, histograms, overflow.

Samples are read one at a time, and only two numbers or one histogram per tensor are kept between them, so that memory
does not grow with the number of samples. ONNX Runtime's own calibrators keep every tensor of every sample until the
end, and their histograms need samples of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.engines.onnxruntime_engine import session_options
from onnxbuild.workers.graphs.graph_files import save_model

Range = tuple[float, float]

_FLOATING = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}

BINS = 2048  # of a histogram

# A larger value means "never" (masks add the lowest float), and fp16 has its own lowest value for that.
_MASKED = 1e30


def float_tensors(model: ModelProto, scratch: Path) -> list[str]:
    """The fp32 values of the main graph: its inputs, then the others in the order in which they are computed.

    ONNX Runtime infers the types, because only it knows those of its operators.
    """
    return [name for name, kind in _types(model, scratch).items() if kind == "tensor(float)"]


def floating_tensors(model: ModelProto, scratch: Path) -> dict[str, np.dtype[Any]]:
    """The same for every floating-point type that numpy has, with the types."""
    types = _types(model, scratch).items()
    return {name: np.dtype(_FLOATING[kind]) for name, kind in types if kind in _FLOATING}


def _types(model: ModelProto, scratch: Path) -> dict[str, str]:
    """The type of each input and of each value that a node computes."""
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    session = _session(model, scratch, [ValueInfoProto(name=name) for name in names])
    return {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}


def shapes(model: ModelProto, tensors: Iterable[str], fed: Feeds, scratch: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor for these feeds."""
    shaped = ModelProto()
    shaped.CopyFrom(model)
    outputs = {name: f"onnxbuild_{place}_shape" for place, name in enumerate(tensors)}
    shaped.graph.node.extend(helper.make_node("Shape", [name], [output]) for name, output in outputs.items())
    values = runner(shaped, scratch, list(outputs.values()))(fed)
    return {name: tuple(map(int, value)) for name, value in zip(outputs, values, strict=True)}


def ranges(model: ModelProto, tensors: Collection[str], feeds: Iterable[Feeds], scratch: Path) -> dict[str, Range]:
    """The smallest and the largest value of each tensor over all feeds."""
    limits: dict[str, Range] = {}
    probes = dict.fromkeys(tensors, ("ReduceMin", "ReduceMax"))
    for values in _probed(model, probes, feeds, scratch):
        for name, (low, high) in values.items():
            if np.isfinite((low, high)).all():  # an empty past has no values
                least, greatest = limits.get(name, (low, high))
                limits[name] = (min(least, low), max(greatest, high))
    return limits


def histograms(
    model: ModelProto, limits: Mapping[str, Range], feeds: Iterable[Feeds], scratch: Path
) -> dict[str, np.ndarray]:
    """How many values of each tensor fall into each of equal bins between its limits."""
    counts: dict[str, np.ndarray] = {name: np.zeros(BINS, np.int64) for name in limits}
    for values in watch(model, limits, feeds, scratch):
        for name, array in values.items():
            counts[name] += np.histogram(array, BINS, range=limits[name])[0]
    return counts


def watch(
    model: ModelProto, tensors: Collection[str], feeds: Iterable[Feeds], scratch: Path
) -> Iterator[dict[str, np.ndarray]]:
    """The tensors themselves, for each feed."""
    inputs = {value.name for value in model.graph.input}
    names = [name for name in tensors if name not in inputs]
    run = runner(model, scratch, names)
    for fed in feeds:
        computed = dict(zip(names, run(fed), strict=True))
        yield {name: computed[name] if name in computed else fed[name] for name in tensors}


def magnitudes(model: ModelProto, feeds: Iterable[Feeds], scratch: Path) -> tuple[dict[str, float], int]:
    """The largest magnitude of every fp32 tensor, and how many feeds were read.

    Stored weights are included; the values with which masks hide a position are not.
    """
    tensors = float_tensors(model, scratch)
    largest = dict.fromkeys(tensors, 0.0)
    count = 0
    for values in _probed(model, dict.fromkeys(tensors, ("magnitude",)), feeds, scratch):
        count += 1
        for name, (value,) in values.items():
            largest[name] = max(largest[name], value)
    return largest | _stored_magnitudes(model), count


def _stored_magnitudes(model: ModelProto) -> dict[str, float]:
    weights = (tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT)
    sizes = ((tensor.name, np.abs(numpy_helper.to_array(tensor))) for tensor in weights)
    return {name: float(np.max(values, initial=0.0, where=values < _MASKED)) for name, values in sizes}


def _probed(
    model: ModelProto, probes: Mapping[str, tuple[str, ...]], feeds: Iterable[Feeds], scratch: Path
) -> Iterator[dict[str, list[float]]]:
    """For each feed, the single numbers that nodes added to the graph compute from its tensors.

    They are computed in the graph rather than here, so that a tensor can be freed as soon as its numbers are known.
    """
    probed, names = _with_probes(model, probes)
    outputs = [output for of_tensor in names.values() for output in of_tensor]
    run = runner(probed, scratch, outputs)
    for fed in feeds:
        numbers = iter(run(fed))
        yield {tensor: [float(next(numbers)) for _ in of_tensor] for tensor, of_tensor in names.items()}


def _with_probes(model: ModelProto, probes: Mapping[str, tuple[str, ...]]) -> tuple[ModelProto, dict[str, list[str]]]:
    """A copy of the model with a node for each probe, and the names of their outputs by tensor."""
    probed = ModelProto()
    probed.CopyFrom(model)
    names: dict[str, list[str]] = {}
    for place, (tensor, kinds) in enumerate(probes.items()):
        for kind in kinds:
            output = f"onnxbuild_{place}_{kind}"
            names.setdefault(tensor, []).append(output)
            source = tensor if kind != "magnitude" else _magnitude(probed, tensor, output)
            operator = "ReduceMax" if kind == "magnitude" else kind
            probed.graph.node.append(helper.make_node(operator, [source], [output], keepdims=0))
    return probed, names


def _magnitude(model: ModelProto, tensor: str, output: str) -> str:
    """Add nodes for the absolute value without masks; returns the name of their output."""
    if not any(one.name == "onnxbuild_masked" for one in model.graph.initializer):
        for name, value in (("onnxbuild_masked", _MASKED), ("onnxbuild_zero", 0.0)):
            model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    absolute, small, kept = f"{output}_abs", f"{output}_small", f"{output}_kept"
    model.graph.node.extend(
        (
            helper.make_node("Abs", [tensor], [absolute]),
            helper.make_node("Less", [absolute, "onnxbuild_masked"], [small]),
            helper.make_node("Where", [small, absolute, "onnxbuild_zero"], [kept]),
        )
    )
    return kept


def runner(model: ModelProto, scratch: Path, names: Collection[str]) -> Callable[[Feeds], Sequence[Any]]:
    """What computes these values from feeds; for no value nothing is run, because a session needs an output."""
    if not names:
        return lambda _fed: ()
    session = _session(model, scratch, [ValueInfoProto(name=name) for name in names])
    wanted = list(names)
    return lambda fed: session.run(wanted, dict(fed))


def _session(model: ModelProto, scratch: Path, outputs: Iterable[Any]) -> onnxruntime.InferenceSession:
    """A session on the model with other outputs, and without fusions, which would remove tensors."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(outputs)
    path = scratch / "watched.onnx"
    save_model(watched, path)
    options = session_options(0)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for left in scratch.glob("watched.onnx*"):
        left.unlink()
    return session
