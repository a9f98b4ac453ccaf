"""What the values of a graph's tensors are while it reads data: ranges by minimum and maximum, histograms, overflow.

One sample at a time: between samples only two numbers or one histogram a tensor are kept, so that memory does not grow
with the number of samples. ONNX Runtime's own calibrators keep every tensor of every sample until the end, and its
histograms want samples of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel, session_options
from onnxbuild.workers.failures.known_messages import CALIBRATING
from onnxbuild.workers.graphs.onnx_files import load_model, save_model
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.inputs.stages import run_stages

Feeds = Mapping[str, np.ndarray]
Range = tuple[float, float]

_BINS = 2048
_LEVELS = 128  # of an 8-bit activation on one side of zero

# Beyond this a value stands for "never" (masks add the lowest float): fp16 has its own lowest value for it.
_MASKED = 1e30

# File → its stage; any other file is a graph of one pass, or of a decoder that is fed without and with a past.
_STAGES: Mapping[str, tuple[str, ...]] = {
    "encoder_model.onnx": ("encoder",),
    "decoder_model.onnx": ("decoder",),
    "decoder_with_past_model.onnx": ("decoder_step",),
}


def feeds_by_file(folder: Path, samples: Callable[[OnnxModel], Iterable[Sample]], *, threads: int) -> Any:
    """A function from the name of a graph to the feeds that it gets, sample by sample, when the model reads `samples`.

    Each call runs the whole model again: a cached step is fed what the pass before it left.
    """
    model = OnnxModel(folder, threads=threads)
    stages = tuple(stage for stage in model.stages if not stage.startswith("merged"))

    def feeds(name: str) -> Iterator[Feeds]:
        here = _STAGES.get(Path(name).name, ("forward", "prefill", "decode"))
        for sample in samples(model):
            for stage, fed, _ in run_stages(model, sample, stages):
                if stage in here:
                    yield model.complete(stage, fed)

    return feeds


@contextmanager
def calibrating() -> Iterator[None]:
    """Note on what is raised inside that data was being read: running out of memory then has remedies of its own."""
    try:
        yield
    except Exception as error:
        error.add_note(CALIBRATING)
        raise


class Counted:
    """Feeds that count themselves as they are read."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        """Begin at none."""
        self.count = 0
        self._feeds = feeds

    def __iter__(self) -> Iterator[Feeds]:
        """Each of them, once."""
        for fed in self._feeds:
            self.count += 1
            yield fed


def float_tensors(model: ModelProto, scratch: Path) -> list[str]:
    """The values of the main graph that are fp32, as ONNX Runtime infers it: it knows the types of its own operators.

    In the order in which they are made, after the inputs.
    """
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    session = _session(model, scratch, [ValueInfoProto(name=name) for name in names])
    types = {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}
    return [name for name, kind in types.items() if kind == "tensor(float)"]


def ranges(model: ModelProto, tensors: Collection[str], feeds: Iterable[Feeds], scratch: Path) -> dict[str, Range]:
    """The least and the greatest value of each tensor over all feeds."""
    found: dict[str, Range] = {}
    probes = dict.fromkeys(tensors, ("ReduceMin", "ReduceMax"))
    for values in _probed(model, probes, feeds, scratch):
        for name, (low, high) in values.items():
            if np.isfinite((low, high)).all():  # of an empty past there is none
                least, greatest = found.get(name, (low, high))
                found[name] = (min(least, low), max(greatest, high))
    return found


def histograms(
    model: ModelProto, limits: Mapping[str, Range], feeds: Iterable[Feeds], scratch: Path
) -> dict[str, np.ndarray]:
    """How often the values of each tensor fall into each of equal bins between its limits."""
    counts: dict[str, np.ndarray] = {name: np.zeros(_BINS, np.int64) for name in limits}
    for values in watch(model, limits, feeds, scratch):
        for name, array in values.items():
            counts[name] += np.histogram(array, _BINS, range=limits[name])[0]
    return counts


def watch(
    model: ModelProto, tensors: Collection[str], feeds: Iterable[Feeds], scratch: Path
) -> Iterator[dict[str, np.ndarray]]:
    """For each feed the tensors themselves."""
    inputs = {value.name for value in model.graph.input}
    names = [name for name in tensors if name not in inputs]
    session = _session(model, scratch, [ValueInfoProto(name=name) for name in names])
    for fed in feeds:
        found = dict(zip(names, session.run(names, dict(fed)), strict=True))
        yield {name: found[name] if name in found else fed[name] for name in tensors}


def clipped_by_percentile(limits: Range, counts: np.ndarray, percentile: float) -> Range:
    """The range that holds `percentile` percent of the values, as much cut off below as above."""
    low, high = limits
    share = np.cumsum(counts) / max(1, counts.sum())
    cut = (100.0 - percentile) / 200.0
    edges = np.linspace(low, high, len(counts) + 1)
    first = int(np.searchsorted(share, cut, side="right"))
    last = min(int(np.searchsorted(share, 1.0 - cut)), len(counts) - 1)
    return float(edges[min(first, last)]), float(edges[last + 1])


def clipped_by_entropy(limits: Range, counts: np.ndarray) -> Range:
    """The range up to the magnitude at which the quantized distribution is nearest to the real one.

    The method of TensorRT (Migacz, GTC 2017): least Kullback-Leibler divergence over candidates for the threshold.
    """
    low, high = limits
    edges = np.linspace(low, high, len(counts) + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    most = max(abs(low), abs(high))
    magnitudes = np.histogram(np.abs(middles), _BINS, range=(0, most), weights=counts)[0]
    candidates = range(_LEVELS, _BINS + 1, 16)
    best = min(candidates, key=lambda size: _divergence(magnitudes, size))
    threshold = most * best / _BINS
    return max(low, -threshold), min(high, threshold)


def magnitudes(model: ModelProto, feeds: Iterable[Feeds], scratch: Path) -> tuple[dict[str, float], int]:
    """The largest magnitude of every fp32 tensor, and how many feeds were read.

    Stored weights count too; what masks write to hide a position does not.
    """
    tensors = float_tensors(model, scratch)
    largest = dict.fromkeys(tensors, 0.0)
    count = 0
    for values in _probed(model, dict.fromkeys(tensors, ("magnitude",)), feeds, scratch):
        count += 1
        for name, (value,) in values.items():
            largest[name] = max(largest[name], value)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values_of = np.abs(_array(tensor))
            largest[tensor.name] = float(np.max(values_of, initial=0.0, where=values_of < _MASKED))
    return largest, count


def _divergence(counts: np.ndarray, size: int) -> float:
    """Between the distribution cut at `size` bins, its outliers in the last one, and the same in `_LEVELS` levels."""
    real: np.ndarray = counts[:size].astype(np.float64)
    level: np.ndarray = np.arange(size) * _LEVELS // size
    used = real > 0
    per_level = np.bincount(level, weights=real, minlength=_LEVELS)
    in_use = np.bincount(level, weights=used, minlength=_LEVELS)
    spread = np.where(used, per_level[level] / np.maximum(in_use[level], 1), 0.0)
    real[-1] += counts[size:].sum()
    both = (real > 0) & (spread > 0)
    # What was cut off stands where the quantized distribution has nothing: count it at the smallest probability.
    quantized = np.where(both, spread, np.where(real > 0, 1e-4, 0.0))
    p, q = real / max(real.sum(), 1.0), quantized / max(quantized.sum(), 1e-12)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))


def _probed(
    model: ModelProto, probes: Mapping[str, tuple[str, ...]], feeds: Iterable[Feeds], scratch: Path
) -> Iterator[dict[str, list[float]]]:
    """For each feed the single numbers that small graphs beside the model make of its tensors.

    In the graph rather than here, so that a tensor can be freed as soon as its numbers are known.
    """
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
    outputs = [output for of_tensor in names.values() for output in of_tensor]
    values = [ValueInfoProto(name=output) for output in outputs]
    session = _session(probed, scratch, values)
    for fed in feeds:
        numbers = iter(session.run(outputs, dict(fed)))
        yield {tensor: [float(next(numbers)) for _ in of_tensor] for tensor, of_tensor in names.items()}


def _magnitude(model: ModelProto, tensor: str, output: str) -> str:
    """Nodes for the absolute value without masks; returns the name of what they make."""
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


def _session(model: ModelProto, scratch: Path, outputs: Iterable[Any]) -> onnxruntime.InferenceSession:
    """A session on the model with other outputs; fusions, which remove tensors, are off."""
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


def _array(tensor: TensorProto) -> np.ndarray:
    from onnx import numpy_helper

    array: np.ndarray = numpy_helper.to_array(tensor)
    return array


def load_for_calibration(path: Path) -> ModelProto:
    """The model with every node named: what is found of a node is told by its name."""
    model = load_model(path)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return model
