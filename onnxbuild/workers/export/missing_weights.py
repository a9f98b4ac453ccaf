"""The weights that a checkpoint lacks: an export fails for those that its outputs depend on.

PyTorch fills a missing weight with random numbers, or, a norm's, with the same constants in every load. Then both sides
of a validation agree on a model that was never trained.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.engines.loading import Loaded, some_of
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import remote_code

_TOKENS = 8
_SOUGHT = 32  # missing weights that are looked at one by one, because each takes a run of the model

Outputs = list[tuple[str, str, np.ndarray]]  # stage, name, value


def check_weights(loads: Sequence[Loaded], params: ExportParams, checkpoint: Path, exported: Path) -> dict[str, Any]:
    """Facts about missing and unknown weights, with warnings.

    Errors: CheckFailed OBE83 if an output of the graphs depends on a missing weight that is not allowed to be.
    """
    missing = sorted({name for one in loads for name in one.missing})
    patterns = () if params.allow_missing is UNSET else params.allow_missing
    allowed = [name for name in missing if any(fnmatchcase(name, pattern) for pattern in patterns)]
    others = [name for name in missing if name not in allowed]
    if others:
        _refuse_needed(others, params, checkpoint, exported)
    unused = [one for one in patterns if not any(fnmatchcase(name, one) for name in missing)]
    warnings = [f"the checkpoint lacks no weight that `{pattern}` of `allow_missing` matches" for pattern in unused]
    facts = {"missing_weights": {"allowed": allowed, "without_effect": others}} if missing else {}
    warnings += _unknown(loads)
    if not loads:
        warnings.append("missing weights were not looked for: the exporter loaded nothing with transformers")
    return facts | ({"warnings": warnings} if warnings else {})


def _unknown(loads: Sequence[Loaded]) -> list[str]:
    # A checkpoint that is loaded twice is known by whichever class takes more of it.
    unknown = min((one.unknown for one in loads), key=len, default=())
    if not unknown:
        return []
    return [f"the checkpoint has {len(unknown)} weights that the exported model does not have: {some_of(unknown)}"]


def _refuse_needed(names: Sequence[str], params: ExportParams, checkpoint: Path, exported: Path) -> None:
    try:
        needed = _needed(names, params, checkpoint, exported)
    except Exception as error:
        raise _lacking(names, ("unchecked", f"whether an output depends on them: {error}")) from error
    if needed:
        raise _lacking(needed)


def _lacking(names: Sequence[str], *notes: tuple[str, str]) -> CheckFailed:
    listed = ", ".join(f"`{name}`" for name in names[:_SOUGHT])
    hint = (
        "for a head, set `task:` to the one that `architectures` in config.json implies; otherwise fetch the checkpoint"
        " again, or allow it with `export: {allow_missing: [PATTERN]}`"
    )
    return CheckFailed(
        "OBE83",
        f"the checkpoint lacks {some_of(names)}, and PyTorch filled in other values",
        notes=[("missing", listed + (" …" if len(names) > _SOUGHT else "")), *notes, ("hint", hint)],
    )


def _needed(names: Sequence[str], params: ExportParams, checkpoint: Path, exported: Path) -> list[str]:
    """Those of the missing weights that an output of the graphs depends on, by changing them in PyTorch."""
    from onnxbuild.workers.engines.torch_engine import load_torch
    from onnxbuild.workers.inputs.sample_source import open_source
    from onnxbuild.workers.inputs.samples import probes, shaped

    threads = int(os.environ.get("OMP_NUM_THREADS") or usable_cores())
    variant = OnnxModel(exported, threads=threads)
    trust = params.trusts_code
    with remote_code(allowed=trust), quiet():
        reference = load_torch(checkpoint, params.task, variant, trusts_code=trust)
        source = open_source(exported, variant, params.task, seed=0, trusts_code=trust)
    samples = [shaped(source, 2, max(1, min(_TOKENS, source.positions - 1))), *probes(source)[:1]]
    return _Trial(reference, variant, samples).needed(names)


class _Trial:
    """A reference that is run with and without its missing weights."""

    def __init__(self, reference: Any, variant: OnnxModel, samples: Sequence[Any]) -> None:
        self._reference, self._variant, self._samples = reference, variant, samples
        self._models = [one.model for one in reference.loads]
        self._called: set[Any] = set()
        with self._calls_noted():
            self._plain = self._outputs()

    def needed(self, names: Sequence[str]) -> list[str]:
        """The names on which an output depends; of very many names, all where any of them does."""
        chosen = [name for name in names if self._is_one_of_many(name)]
        if not self._matters(names):
            return chosen
        if len(names) > _SOUGHT:
            return list(names)
        return [name for name in names if name in chosen or self._matters([name])] or list(names)

    def _matters(self, names: Sequence[str]) -> bool:
        with _spoiled([weight for name in names for weight in self._weights(name)]):
            try:
                changed = self._outputs()
            except (RuntimeError, IndexError, ValueError):  # a place that was computed from it does not exist
                return True
        return any(
            not np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
            for (_, _, one), (_, _, other) in zip(self._plain, changed, strict=True)
        )

    def _outputs(self) -> Outputs:
        """The outputs that the graphs have too: a pooler's is none of them if only hidden states are exported."""
        from onnxbuild.workers.inputs.stages import run_stages

        runs = (run for sample in self._samples for run in run_stages(self._reference, sample, self._variant.stages))
        return [
            (stage, name, outputs[name])
            for stage, _, outputs in runs
            for name in sorted(set(self._variant.outputs(stage)) & outputs.keys() or outputs.keys())
        ]

    def _weights(self, name: str) -> Iterator[Any]:
        """The parameters or buffers of a name; a name that no model has cannot be shown to be without effect."""
        found = [weight for model in self._models for one, weight in model.state_dict().items() if one == name]
        if not found:
            raise LookupError(f"the reference has no weight `{name}`")
        yield from found

    def _is_one_of_many(self, name: str) -> bool:
        """Whether a weight is in a part that did not run and beside which others did: an expert that no token chose."""
        return any(
            part.isdigit() and self._skipped(model, prefix, part) for model in self._models
            for prefix, part in _parents(name)
        )  # fmt: skip

    def _skipped(self, model: Any, prefix: str, part: str) -> bool:
        parts = dict(model.named_modules()).get(prefix)
        children = dict(parts.named_children()) if parts is not None else {}
        return children.get(part) not in self._called and any(child in self._called for child in children.values())

    @contextmanager
    def _calls_noted(self) -> Iterator[None]:
        def note(module: Any, *_: Any) -> None:
            self._called.add(module)

        hooks = [module.register_forward_pre_hook(note) for model in self._models for module in model.modules()]
        yield
        for hook in hooks:
            hook.remove()


def _parents(name: str) -> Iterator[tuple[str, str]]:
    parts = name.split(".")
    for number in range(1, len(parts)):
        yield ".".join(parts[:number]), parts[number]


@contextmanager
def _spoiled(weights: Sequence[Any]) -> Iterator[None]:
    """Weights of which nothing can be computed while the block runs: NaN reaches every output that depends on them."""
    kept = [weight.clone() for weight in weights]
    for weight in weights:
        weight.fill_(float("nan") if weight.is_floating_point() else 1)
    try:
        yield
    finally:
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)
