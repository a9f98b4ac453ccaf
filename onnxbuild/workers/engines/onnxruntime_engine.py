"""An ONNX model as a set of stages, each an ONNX Runtime session, run with a known number of threads.

`tables/graph_stages.py` says what the stages are, and which graph has which.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.graph_stages import stages_of
from onnxbuild.workers.engines.compiled.stage_feeds import complete_feeds
from onnxbuild.workers.engines.engine import Arrays, Device, InputSpec
from onnxbuild.workers.folders.model_graphs import check_one_model

# In order of preference, with their options. CUDA multiplies fp32 in TF32 (10 bits of mantissa) unless told not to,
# and PyTorch does not; fp32 shall be fp32.
_PROVIDERS: Mapping[Device, tuple[tuple[str, Mapping[str, str]], ...]] = {
    "cpu": (("CPUExecutionProvider", {}),),
    "cuda": (("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})),
}


class OnnxModel:
    """The sessions of one folder. `stages` are what it can run; `first` is the one that reads the model's inputs.

    Outputs have the names of the graphs' outputs.
    """

    name = "onnxruntime"

    def __init__(
        self, folder: Path, *, threads: int, device: Device = "cpu", options: onnxruntime.SessionOptions | None = None
    ) -> None:
        """Open every ONNX file of the folder, with `options` in place of those of `session_options`.

        Errors: CheckFailed OBE43 if the device's provider is absent, OBE80 if the files are not one model.
        """
        files = onnx_files(folder)
        if not files:
            raise CheckFailed("OBE41", f"the folder has no ONNX file: {sorted(p.name for p in folder.iterdir())}")
        check_one_model(folder)
        start = time.perf_counter()
        self.folder, self.threads, self.device = folder, threads, device
        self._sessions = {
            path.name: open_session(path, threads=threads, device=device, options=options) for path in files
        }
        self.load_seconds = time.perf_counter() - start
        self._stages: dict[str, tuple[Any, bool | None]] = {}
        for name, session in self._sessions.items():
            for stage, branch in stages_of(name, [i.name for i in session.get_inputs()]).items():
                self._stages[stage] = (session, branch)
        self.stages = tuple(self._stages)
        self.first = next(
            (stage for stage in ("encoder", "prefill", "vision_encoder") if stage in self.stages), self.stages[0]
        )

    def stages_in(self, file: str) -> tuple[str, ...]:
        """The stages of the graph in a file."""
        return tuple(stage for stage, (session, _) in self._stages.items() if session is self._sessions[file])

    def inputs(self, stage: str) -> Mapping[str, InputSpec]:
        """Inputs of a stage's graph, by name."""
        session, _ = self._stages[stage]
        return {i.name: InputSpec(tuple(i.shape), i.type) for i in session.get_inputs()}

    def outputs(self, stage: str) -> tuple[str, ...]:
        """Names of a stage's outputs."""
        session, _ = self._stages[stage]
        return tuple(o.name for o in session.get_outputs())

    def output_axes(self, stage: str) -> Mapping[str, int]:
        """The number of axes of each output of a stage, by name."""
        session, _ = self._stages[stage]
        return {o.name: len(o.shape) for o in session.get_outputs()}

    def prepare(self, stage: str, feeds: Arrays) -> Callable[[], Any]:
        """A call that runs the stage on these feeds and does nothing else: what a benchmark times."""
        session, branch = self._stages[stage]
        complete = complete_feeds(self.inputs(stage), feeds, branch=branch)
        return lambda: session.run(None, complete)

    def complete(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Exactly what the stage's graph takes, from feeds that may contain more or lack a past."""
        return complete_feeds(self.inputs(stage), feeds, branch=self._stages[stage][1])

    def run(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Outputs of a stage by name."""
        outputs = zip(self.outputs(stage), self.prepare(stage, feeds)(), strict=True)
        # The cached branch of a merged decoder returns a placeholder for the encoder's cache, which does not change.
        return {name: value for name, value in outputs if stage != "merged_step" or ".encoder." not in name}

    def renew(self) -> None:
        """A session keeps nothing from one run to the next."""

    def threads_used(self) -> int:
        """Threads of a session, as ONNX Runtime reports them."""
        session = next(iter(self._sessions.values()))
        return int(session.get_session_options().intra_op_num_threads)

    def providers(self) -> dict[str, int]:
        """How many nodes of all files each execution provider runs, as ONNX Runtime assigned them."""
        counts: Counter[str] = Counter()
        for session in self._sessions.values():
            for part in session.get_provider_graph_assignment_info():
                counts[part.ep_name] += len(part.get_nodes())
        return dict(counts)

    def operators(self) -> dict[str, dict[str, int]]:
        """The nodes that each execution provider runs, counted by their operator."""
        counts: dict[str, Counter[str]] = {}
        for session in self._sessions.values():
            for part in session.get_provider_graph_assignment_info():
                counts.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
        return {provider: dict(sorted(of.items())) for provider, of in counts.items()}


def onnx_files(folder: Path) -> list[Path]:
    """The ONNX files of a model, which are in its folder, or in one below it, as repositories on the Hub have them."""
    return sorted(folder.rglob("*.onnx"))


def open_session(
    path: Path, *, threads: int, device: Device = "cpu", options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A session with exactly `threads` compute threads on the device's provider.

    Errors: CheckFailed OBE43 if the provider is not available, or runs no node.
    """
    providers = _PROVIDERS[device]
    wanted = providers[0][0]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise CheckFailed(
            "OBE43",
            f"{wanted} is not in this onnxruntime {onnxruntime.__version__}, which has {', '.join(available)}",
            notes=[("hint", "install onnxruntime-gpu in this environment, or leave out `device: cuda`")],
        )
    if device == "cuda":
        _load_cuda()
    options = options or session_options(threads)
    session = onnxruntime.InferenceSession(
        str(path), options, providers=[(name, dict(given)) for name, given in providers]
    )
    # A provider that cannot start is replaced by the CPU with no more than a log line.
    taken = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    if wanted not in session.get_providers() or (taken and wanted not in taken):
        raise CheckFailed(
            "OBE43",
            f"{wanted} was requested, but {path.name} runs on {', '.join(sorted(taken) or session.get_providers())}",
            notes=[("hint", "the log has the reason why the provider did not start")],
        )
    return session


@functools.cache
def _load_cuda() -> None:
    """Load the libraries of CUDA and cuDNN from the packages of NVIDIA, where the system's loader does not look.

    ONNX Runtime prints what it does not find, and a session that needs it fails with its own message.
    """
    with redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Exactly `threads` compute threads, one graph node at a time, and a record of which provider runs what."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin between calls take cores from other engines that are measured at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options
