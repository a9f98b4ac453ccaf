"""The Python interface: `load`, `plan` and `run` return the values that the commands print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onnxbuild.commands.building.finished import Result
from onnxbuild.commands.building.rounds import run_session
from onnxbuild.commands.building.tidying import refuse_link
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import default_jobs, memory_limit, out_folder, session
from onnxbuild.execute.events import Event, Outcome
from onnxbuild.execute.policy import Policy
from onnxbuild.manifest.load import load_manifest
from onnxbuild.manifest.spec import Manifest
from onnxbuild.steps import all_kinds


def load(path: str | Path, *, defines: Mapping[str, str] | None = None) -> Manifest:
    """The manifest in a file, checked. Errors: DiagnosticError with every fault."""
    return load_manifest(path, kinds=all_kinds(), defines=defines)


def plan(
    path: str | Path,
    selectors: Sequence[str] = (),
    *,
    defines: Mapping[str, str] | None = None,
    store: str | Path | None = None,
    remote: str | None = None,
) -> tuple[Outcome, ...]:
    """For every action, `hit` or `run` with its reasons. Errors: DiagnosticError."""
    with session(_asked(path, selectors, defines, store, remote), write=False) as opened:
        return tuple(opened.preview().values())


def run(
    path: str | Path,
    selectors: Sequence[str] = (),
    *,
    defines: Mapping[str, str] | None = None,
    store: str | Path | None = None,
    remote: str | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    force: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Result:
    """Build what is not up to date. A failed action is an outcome in the result; only bad input raises.

    Errors: DiagnosticError.
    """
    named = str(out) if out else None
    refuse_link(str(path), named)
    with session(_asked(path, selectors, defines, store, remote), write=True, jobs=jobs or default_jobs()) as opened:
        policy = Policy(
            scope=opened.scope,
            logs=str(opened.logs),
            jobs=jobs or default_jobs(),
            memory_bytes=memory_limit(),
            force=opened.plan.named if force else frozenset(),
        )
        return run_session(opened, policy, out_folder(str(path), named), _Callback(on_event or _ignore))


def _asked(
    path: str | Path,
    selectors: Sequence[str],
    defines: Mapping[str, str] | None,
    store: str | Path | None,
    remote: str | None,
) -> Asked:
    return Asked(
        manifest=str(path),
        selectors=tuple(selectors),
        defines=tuple((defines or {}).items()),
        store=str(store) if store else None,
        remote=remote,
    )


class _Callback:
    """A reporter that passes events to a function."""

    def __init__(self, function: Callable[[Event], None]) -> None:
        self.event = function

    def close(self) -> None:
        """Nothing is open."""


def _ignore(_event: Event) -> None:
    """The default listener."""
