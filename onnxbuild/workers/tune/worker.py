"""tune: finds the session settings that serve a variant best, by a descent whose every step is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from onnxbuild.machine import physical_cores, this_machine, usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.checks.tune import LARGER_IS_BETTER, Figure, TuneParams
from onnxbuild.tables.choices import Condition
from onnxbuild.tables.graph_stages import TIMED
from onnxbuild.tables.sessions.session_settings import SESSION_FILE, SETTINGS, Values, as_session, in_words
from onnxbuild.workers.engines import timing
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import shaped
from onnxbuild.workers.inputs.stages import run_stages
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.tune.descent import Verdict, candidates_of_threads, descend, rounded, threads_of
from onnxbuild.workers.tune.equal_outputs import bounds_of, why_not_equal
from onnxbuild.workers.tune.interleaved import BEST, CANDIDATE, CONTROL, Compared, Measured, compare
from onnxbuild.workers.tune.session_process import Work
from onnxbuild.workers.tune.sessions import Refused, SessionProcess, opened


@with_its_code
def run(params: TuneParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write `session.json`: the settings that differ from ONNX Runtime's defaults, and what was measured.

    Errors: CheckFailed OBE135 if no settings fulfil the conditions, OBE136 if no session can be run.
    """
    cores = usable_cores()
    with TemporaryDirectory(prefix="onnxbuild-tune-") as scratch:
        tuner = _Tuner(params, inputs["model"], Path(scratch), cores, progress)
        found = tuner.tune()
    settings = json.dumps(found, indent=2, ensure_ascii=False)
    (outputs["settings"] / SESSION_FILE).write_text(settings + "\n", encoding="utf-8")
    return found


_ONLY_LOGICAL = (
    "this system does not say which cores are physical: of `threads`, only powers of two and the number of logical"
    " cores were tried. Name others in `threads`"
)


class _Tuner:
    """One search: what is timed, and the sessions that are open."""

    def __init__(self, params: TuneParams, folder: Path, scratch: Path, cores: int, tell: Tell) -> None:
        self._params, self._folder, self._scratch = params, folder, scratch
        self._cores, self._physical, self._tell = cores, physical_cores(), tell
        tell("preparing the inputs")
        self._works, config = works_of(params, folder, scratch)
        self._batches = [work.batch for work in self._works]
        self._bounds = bounds_of(params.task, config, params.precision)
        self._open = ExitStack()
        self._to_beat: Values | None = None
        self._sessions: dict[str, SessionProcess] = {}
        self._broken: tuple[Condition, ...] = ()
        self._trials = 0

    def tune(self) -> dict[str, Any]:
        """Search, confirm what was found beside the defaults, and say what was measured."""
        try:
            return self._tuned()
        finally:
            self._open.close()

    def _tuned(self) -> dict[str, Any]:
        self._tell("the defaults")
        try:
            self._beat({})
            self._sessions[BEST].write_outputs(self._exact)
            defaults = self._compare(self._params.goal, to_the_end=True)
        except Refused as refused:
            raise CheckFailed("OBE136", f"a session with ONNX Runtime's defaults cannot be run: {refused}") from None
        self._broken = self._broken_by(defaults.sessions[BEST])
        first_goal = self._goal
        names = tuple(name for name in SETTINGS if name in self._params.settings or not self._params.settings)
        threads = candidates_of_threads(self._params.threads, self._cores, self._physical)
        values, trials = descend(names, threads, self._default_threads, self._try)
        final = self._confirm(values, first_goal) if values else defaults
        is_better = bool(values) and final.is_better
        kept = values if is_better else {}
        self._check_conditions(final, kept)
        unconfirmed = values if values and not is_better else {}
        found = self._found(kept, unconfirmed, first_goal, final) | {"tried": [trial.facts for trial in trials]}
        is_blind = self._physical is None and "threads" in names and not self._params.threads
        return found | ({"warnings": [_ONLY_LOGICAL]} if is_blind else {})

    @property
    def _default_threads(self) -> int:
        """How many threads ONNX Runtime takes by itself: one for each physical core."""
        return self._physical or self._cores

    @property
    def _exact(self) -> Path:
        return self._scratch / "defaults.npz"

    @property
    def _goal(self) -> Figure:
        """What the next change must improve: a figure whose condition is broken, or else the goal of the manifest."""
        return self._broken[0].figure if self._broken else self._params.goal  # type: ignore[return-value]

    def _try(self, best: Values, other: Values) -> Verdict:
        """Compare other settings with the best ones."""
        self._trials += 1
        self._tell(f"comparison {self._trials}: {in_words(other)}")
        try:
            self._beat(best)
            with opened(self._folder, other, self._works, warmup=self._params.warmup) as session:
                session.write_outputs(self._scratch / "other.npz")
                why = why_not_equal(self._exact, self._scratch / "other.npz", self._bounds)
                if why is not None:
                    return Verdict(kept=False, why=f"refused: {why}")
                self._sessions[CANDIDATE] = session
                return self._judged(self._compare(self._goal))
        except Refused as refused:
            return Verdict(kept=False, why=f"refused: {refused}")
        finally:
            self._sessions.pop(CANDIDATE, None)

    def _judged(self, compared: Compared) -> Verdict:
        goal, broken = self._goal, self._broken_by(compared.sessions[CANDIDATE])
        kept = compared.is_better and set(broken) <= set(self._broken)
        why = "better in every round" if kept else "not clearly better"
        if compared.is_better and not kept:
            why = f"breaks `{broken[0]}`"
        self._broken = broken if kept else self._broken
        ranges = {"candidate": compared.candidate, "control": compared.control}
        return Verdict(kept=kept, why=why, figure=goal, rounds=compared.rounds, **ranges)

    def _beat(self, values: Values) -> None:
        """Have two sessions with these settings open: the one to beat, and its control."""
        if values == self._to_beat:
            return
        self._open.close()
        for name in (BEST, CONTROL):
            session = opened(self._folder, values, self._works, warmup=self._params.warmup)
            self._sessions[name] = self._open.enter_context(session)
        self._to_beat = values

    def _confirm(self, values: Values, goal: Figure) -> Compared:
        """Compare what was found with the defaults, in new processes: a search finds what was lucky, too."""
        self._tell(f"confirming {in_words(values)}")
        self._to_beat = None
        self._beat({})
        with opened(self._folder, values, self._works, warmup=self._params.warmup) as session:
            self._sessions[CANDIDATE] = session
            return self._compare(goal, to_the_end=True)

    def _compare(self, goal: Figure, *, to_the_end: bool = False) -> Compared:
        calls, rounds = self._params.calls, self._params.rounds
        return compare(self._sessions, self._batches, goal, calls=calls, rounds=rounds, to_the_end=to_the_end)

    def _broken_by(self, measured: Measured) -> tuple[Condition, ...]:
        return tuple(
            one
            for one in self._params.conditions
            if not one.holds(measured.worst(one.figure, self._batches))  # type: ignore[arg-type]
        )

    def _check_conditions(self, final: Compared, kept: Values) -> None:
        measured = final.sessions[CANDIDATE if kept else BEST]
        broken = self._broken_by(measured)
        if broken:
            one = broken[0]
            value = measured.worst(one.figure, self._batches)  # type: ignore[arg-type]
            raise CheckFailed(
                "OBE135",
                f"no session settings fulfil `{one}`: it is {value:.4g} with {in_words(kept)}",
                notes=[("hint", "loosen the condition, or tune a smaller variant")],
            )

    def _found(self, kept: Values, unconfirmed: Values, goal: Figure, final: Compared) -> dict[str, Any]:
        options, entries = as_session(kept)
        shown = {"defaults": final.sessions[BEST], **({"tuned": final.sessions[CANDIDATE]} if kept else {})}
        threads = {"defaults": self._default_threads, "tuned": threads_of(kept, self._default_threads)}
        machine = this_machine()
        return {
            "options": options,
            "config_entries": entries,
            "providers": ["CPUExecutionProvider"],
            "settings": dict(kept),
            "goal": ("largest " if goal in LARGER_IS_BETTER else "smallest ") + goal,
            "gain": rounded(final.candidate) if kept else None,
            "because": _because(kept, unconfirmed, goal, final),
            "figures": [
                {"stage": work.stage, "batch": work.batch, "sequence": work.sequence}
                | {name: _figures(measured, number, work.batch) for name, measured in shown.items()}
                for number, work in enumerate(self._works)
            ],
            "contended": any(measured.is_contended(threads=threads[name]) for name, measured in shown.items()),
            "machine": {
                "cpu": machine.cpu, "architecture": machine.architecture, "flags": list(machine.flags),
                "cores": machine.cores, "physical_cores": self._physical, "load_average": timing.load_average(),
            },
            "versions": timing.versions(),
        }  # fmt: skip


def _because(kept: Values, unconfirmed: Values, goal: Figure, final: Compared) -> str:
    """Why these settings, in words."""
    if unconfirmed:
        return f"{in_words(unconfirmed)} looked better in {goal}, and did not when measured again"
    if not kept:
        return f"no setting was better in {goal} than the defaults in every round"
    one = final.candidate
    return f"{in_words(kept)}: {one.median:.2f} times better in {goal} ({one.min:.2f} to {one.max:.2f})"


def _figures(measured: Measured, work: int, batch: int) -> dict[str, Any]:
    names: Sequence[Figure] = ("latency.p50", "latency.p99", "cpu_time", "throughput")
    found = {name: measured.figure(name, work, batch) for name in names}
    return {
        name: {key: float(f"{value:.4g}") for key, value in msgspec.structs.asdict(one).items()}
        for name, one in found.items()
    }


def works_of(params: TuneParams, folder: Path, scratch: Path) -> tuple[list[Work], Mapping[str, Any]]:
    """Every timed stage at every shape, with its feeds in files, and the config of the model."""
    model = OnnxModel(folder, threads=usable_cores())
    source = open_source(folder, model, params.task, seed=params.seed, trusts_code=params.trusts_code, light=True)
    works: list[Work] = []
    for batch in params.batch:
        for sequence in params.sequence:
            sample = shaped(source, batch, sequence, padded=False)
            for stage, fed, _ in run_stages(model, sample, model.stages):
                if stage in TIMED:
                    path = scratch / f"feeds-{len(works)}.npz"
                    np.savez(path, **dict(fed))  # type: ignore[arg-type]
                    works.append(Work(stage=stage, batch=batch, sequence=sequence, feeds=str(path)))
    return works, source.config
