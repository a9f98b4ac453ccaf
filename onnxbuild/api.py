"""The Python interface: `load`, `plan` and `run` return the values that the commands print."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from onnxbuild.commands.building.finished import Result
from onnxbuild.commands.building.rounds import run_session
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.parsing.refused import as_diagnostics
from onnxbuild.commands.publishing.local_destinations import lacking_uploads
from onnxbuild.commands.sharing.revalidation import own_actions
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.state.out_place import refuse_link
from onnxbuild.commands.workspace import default_jobs, loaded, memory_limit, session
from onnxbuild.execute.events import Event, Outcome
from onnxbuild.execute.policy import Policy
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.packages.asked_uploads import uploads_in


@contextmanager
def _diagnosed() -> Iterator[None]:
    """Errors of the input and of the system are DiagnosticErrors, as on the command line."""
    try:
        yield
    except Exception as error:
        known = as_diagnostics(error)
        if known is None or known is error:
            raise
        raise known from error


@_diagnosed()
def load(
    path: str | Path,
    *,
    defines: Mapping[str, object] | None = None,
    allow_paths: str | Path | Sequence[str | Path] = (),
    allow_env: str | Sequence[str] = (),
) -> Manifest:
    """The manifest in a file, checked. Errors: DiagnosticError with every fault."""
    return loaded(_asked(path, (), defines, None, None, allow_paths, allow_env))


@_diagnosed()
def plan(
    path: str | Path,
    selectors: str | Sequence[str] = (),
    *,
    defines: Mapping[str, object] | None = None,
    store: str | Path | None = None,
    remote: str | None = None,
    trust: str | Sequence[str] = (),
    allow_paths: str | Path | Sequence[str | Path] = (),
    allow_env: str | Sequence[str] = (),
) -> tuple[Outcome, ...]:
    """For every action, `hit` or `run` with its reasons. Errors: DiagnosticError.

    `trust`: public keys, as `--trust`.

    `allow_paths` and `allow_env`: what the manifest may read beyond its folder, as `--allow-path` and `--allow-env`.
    """
    asked = _asked(path, selectors, defines, store, remote, allow_paths, allow_env, trust)
    with session(asked, write=False) as opened:
        return tuple(opened.preview().values())


@_diagnosed()
def run(
    path: str | Path,
    selectors: str | Sequence[str] = (),
    *,
    defines: Mapping[str, object] | None = None,
    store: str | Path | None = None,
    remote: str | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    force: bool = False,
    revalidate: bool = False,
    publish: bool = False,
    trust: str | Sequence[str] = (),
    on_event: Callable[[Event], None] | None = None,
    allow_paths: str | Path | Sequence[str | Path] = (),
    allow_env: str | Sequence[str] = (),
) -> Result:
    """Build what is not up to date. A failed action is an outcome in the result; only bad input raises.

    `trust`, `allow_paths` and `allow_env`: as for `plan`. `revalidate` and `publish`: as the options.
    Errors: DiagnosticError.
    """
    named = str(out) if out else None
    refuse_link(str(path), named)
    place = out_folder(str(path), named)
    asked = _asked(path, selectors, defines, store, remote, allow_paths, allow_env, trust)._replace(
        out=str(place), publish=publish
    )
    with session(asked, write=True, jobs=jobs or default_jobs()) as opened:
        policy = Policy(
            scope=opened.scope,
            logs=str(opened.logs),
            jobs=jobs or default_jobs(),
            memory_bytes=memory_limit(),
            force=opened.plan.named if force else frozenset(),
            own=own_actions(opened.plan.whole, revalidate=revalidate),
            lacking=lacking_uploads(opened.graph, opened.store, opened.scope),
            uploads=uploads_in(opened.graph),
        )
        return run_session(opened, policy, place, _Callback(on_event or _ignore))


def _asked(
    path: str | Path,
    selectors: str | Sequence[str],
    defines: Mapping[str, object] | None,
    store: str | Path | None,
    remote: str | None,
    allow_paths: str | Path | Sequence[str | Path],
    allow_env: str | Sequence[str],
    trust: str | Sequence[str] = (),
) -> Asked:
    return Asked(
        manifest=str(path),
        selectors=_each(selectors),
        defines=tuple((name, _text(value)) for name, value in (defines or {}).items()),
        store=str(store) if store else None,
        remote=remote,
        allow_paths=_each(allow_paths),
        allow_env=_each(allow_env),
        trust=_each(trust),
    )


def _text(value: object) -> str:
    """A value as `-D` takes it: `true`, `4`, `int8`."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _each(values: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """One value or several: a text must not be taken for its letters, of which `/` would permit every path."""
    return (str(values),) if isinstance(values, str | os.PathLike) else tuple(map(str, values))


class _Callback:
    """A reporter that passes events to a function."""

    def __init__(self, function: Callable[[Event], None]) -> None:
        self.event = function

    def close(self) -> None:
        """Nothing is open."""


def _ignore(_event: Event) -> None:
    """The default listener."""
