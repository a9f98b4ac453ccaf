"""Checks a plain package with its client: optimum's `ORTModel` must compute what ONNX Runtime computes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.tables.publishing.ort_classes import ort_class
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.folders.model_files import copy_model_file, files_below
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import Sample, shaped
from onnxbuild.workers.package.client_checks import (
    absent_module,
    check_equal,
    largest_difference,
    reported,
    skipped,
    unopened,
)
from onnxbuild.workers.package.worker import with_ending

_BATCH, _SEQUENCE = 3, 17
_BOUND = 1e-5  # both run the same graph; optimum only passes the arrays on


def run(params: ClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Open the package with the `ORTModel` of the task, once per role, and compare one batch with ONNX Runtime.

    Errors: CheckFailed OBE190 for other numbers, OBE191 if the package does not open.
    """
    if absent_module("optimum.onnxruntime", "torch") is not None:
        return skipped("needs optimum-onnx", outputs)
    loader = ort_class(params.task)
    if loader is None:
        return skipped(f"needs an ORTModel class for the task {params.task or 'of the model'}", outputs)
    differences = {}
    for role in params.graphs:
        progress(f"opening {with_ending('model.onnx', role)} with {loader}")
        differences[role or "model"] = _difference(inputs["model"], role, loader, params)
    check_equal(differences, _BOUND, f"optimum's {loader}")
    return reported({"client": f"optimum {loader}", "max_difference": differences, "bound": _BOUND}, outputs)


def _difference(package: Path, role: str, loader: str, params: ClientParams) -> float:
    """The largest difference of all outputs that the client returns by name."""
    with tempfile.TemporaryDirectory() as scratch:
        alone = _one_role(package, role, params, Path(scratch))
        direct = OnnxModel(alone, threads=1)
        source = open_source(alone, direct, params.task, seed=0, trusts_code=params.trusts_code)
        sample = shaped(source, _BATCH, _SEQUENCE)
        client = _opened(package, role, loader, params, direct)
        got = _by_client(client, sample, direct)
        expected = _by_session(direct, sample)
    both = [name for name in got if name in expected]
    assert both, f"BUG: {sorted(got)} and {sorted(expected)} have no output in common"
    return max(largest_difference(got[name], expected[name], name) for name in both)


def _one_role(package: Path, role: str, params: ClientParams, folder: Path) -> Path:
    """A copy of the package with the graphs of one role, under their plain names."""
    others = [one for one in params.graphs if one]
    for name in files_below(package):
        target = name
        if name.endswith(".onnx"):
            stem = name.removesuffix(".onnx")
            own = next((one for one in sorted(others, key=len, reverse=True) if stem.endswith(f"_{one}")), "")
            if own != role:
                continue
            target = f"{stem.removesuffix(f'_{role}') if role else stem}.onnx"
        copy_model_file(package / name, folder / target)
    return folder


def _opened(package: Path, role: str, loader: str, params: ClientParams, direct: OnnxModel) -> Any:
    from optimum import onnxruntime as optimum_runtime

    from onnxbuild.workers.engines.onnxruntime_engine import session_options

    try:
        return getattr(optimum_runtime, loader).from_pretrained(
            package,
            provider="CPUExecutionProvider",
            session_options=session_options(1),
            use_io_binding=False,
            local_files_only=True,
            trust_remote_code=params.trusts_code,
            **_file_names(role, direct),
        )
    except Exception as error:
        raise unopened(f"optimum's {loader}", with_ending("model.onnx", role), error) from error


def _file_names(role: str, direct: OnnxModel) -> dict[str, str]:
    """The argument that names the graph of a role; none for the parts of a model, which have their usual names."""
    names = [path.name for path in sorted(direct.folder.glob("*.onnx"))]
    return {"file_name": with_ending(names[0], role)} if len(names) == 1 else {}


def _by_client(client: Any, sample: Sample, direct: OnnxModel) -> dict[str, np.ndarray]:
    import torch

    takes = set(direct.inputs(direct.first))
    feeds = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in sample.feeds.items()}
    feeds = {name: value for name, value in feeds.items() if name in takes or name == "attention_mask"}
    if "encoder" in direct.stages:
        feeds["decoder_input_ids"] = torch.from_numpy(sample.decoder_ids)
    with torch.no_grad():
        results = client(**feeds)
    return {name: value.float().numpy() for name, value in results.items() if hasattr(value, "numpy")}


def _by_session(direct: OnnxModel, sample: Sample) -> dict[str, np.ndarray]:
    """The outputs of the first pass; of a model of two parts, those of its decoder."""
    return dict(_last_of(direct, sample))


def _last_of(direct: OnnxModel, sample: Sample) -> Iterator[tuple[str, np.ndarray]]:
    first = direct.run(direct.first, sample.feeds)
    yield from first.items()
    stage = next((one for one in ("merged", "decoder") if one in direct.stages), None)
    if stage is not None:
        hidden = first["last_hidden_state"]
        feeds = {
            "encoder_hidden_states": hidden,
            "input_ids": sample.decoder_ids,
            "decoder_input_ids": sample.decoder_ids,
        }
        mask = sample.feeds.get("attention_mask")
        yield from direct.run(stage, feeds | ({"encoder_attention_mask": mask} if mask is not None else {})).items()
