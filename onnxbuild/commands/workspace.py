"""What most commands begin with: the manifest becomes a plan, and the store and the runner are opened for it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.sharing.open_remote import sharing_for, watched_keys
from onnxbuild.commands.state.locations import make_state_folder, state_for, store_root
from onnxbuild.commands.state.named_environments import environments_of
from onnxbuild.commands.state.out_place import check_folders, check_out
from onnxbuild.commands.state.own_outputs import check_sources
from onnxbuild.commands.state.refusals import check_store
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.preview import preview
from onnxbuild.machine import available_memory, this_machine, usable_cores
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.packages.asked_uploads import uploads_in
from onnxbuild.planning.planned import Plan
from onnxbuild.printable import printable
from onnxbuild.publishing.uploaded_files import SIGNATURE
from onnxbuild.report.named_files import check_named, hint_for, write_named
from onnxbuild.report.wording import on_one_line
from onnxbuild.runners.environments import Environment
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.programs import places_of, programs_of, variables_of
from onnxbuild.runners.runner import Runner
from onnxbuild.secrets import redacted
from onnxbuild.steps import Kinds, all_kinds, kinds_at, plugin_files, plugin_places
from onnxbuild.store.store import Store, opened

if TYPE_CHECKING:  # PyYAML and what depends on it: a run with a remembered plan does not need it
    from onnxbuild.planning.expand import Expansion
    from onnxbuild.planning.locked import Lock
    from onnxbuild.rules import World
    from onnxbuild.store.remote.remote_store import Remote
    from onnxbuild.store.traces import Trace


class Session(Struct, frozen=True, kw_only=True):
    """The plan of a manifest, with the store and the runner that build it."""

    plan: Plan
    kinds: Kinds
    store: Store
    runner: Runner
    scope: str  # the manifest's identity in the store
    state: Path  # `.onnxbuild/` beside the manifest: logs, receipts
    out: Path | None = None  # where variants and packages are delivered

    @property
    def graph(self) -> ActionGraph:
        """What was selected, with all that it needs."""
        return self.plan.graph

    @property
    def logs(self) -> Path:
        """The folder of the workers' logs."""
        return self.state / "logs"

    def preview(
        self,
        graph: ActionGraph | None = None,
        *,
        force: bool = False,
        own: frozenset[str] = frozenset(),
        elsewhere: Callable[[str], Trace | None] | None = None,
    ) -> Mapping[str, Outcome]:
        """For every selected action (or every action of `graph`), a hit, or that it would run and why.

        `force`: as if the selected actions had to run. `elsewhere` is asked for what the store lacks.
        """
        from onnxbuild.commands.publishing.local_destinations import lacking_uploads
        from onnxbuild.commands.publishing.papers import Papers

        outcomes = preview(
            graph or self.graph,
            kinds=self.kinds,
            store=self.store,
            runner=self.runner,
            scope=self.scope,
            force=self.plan.named if force else frozenset(),
            own=own | uploads_in(graph or self.graph),  # what somebody else has uploaded counts for nothing
            elsewhere=elsewhere,
            complete=Papers(self).complete,
            lacking=lacking_uploads(graph or self.graph, self.store, self.scope),
            uploads=uploads_in(graph or self.graph),
        )
        return {outcome.id: outcome for outcome in outcomes}


def loaded(asked: Asked) -> Manifest:
    """The manifest, with what the command line says about it. Errors: DiagnosticError with every fault."""
    from onnxbuild.manifest.load import load_manifest

    manifest = load_manifest(
        asked.manifest, kinds=all_kinds(), defines=dict(asked.defines), permissions=asked.permissions()
    )
    return asked.change(manifest) if asked.change is not None else manifest


def planned(asked: Asked, *, write_lock: bool) -> tuple[Manifest, Expansion, Lock]:
    """The manifest, its whole graph, and the lock; before a run (`write_lock`) sources on a Hub are pinned first.

    Errors: DiagnosticError with every fault of every model.
    """
    from onnxbuild.planning.expand import survey
    from onnxbuild.planning.lock_file import lock_for
    from onnxbuild.rules import World

    manifest = loaded(asked)
    lock = lock_for(manifest, offline=asked.offline, write=write_lock, say=_say)
    expansion = survey(manifest, all_kinds(), lock, this_machine())
    faults = [one for one in expansion.diagnostics if one.severity == "error"]
    if faults:
        raise DiagnosticError(faults)
    if write_lock:
        _judge(World(manifest=manifest, lock=lock, expansion=expansion, out=asked.out))
    return manifest, expansion, lock


def _judge(world: World) -> None:
    """Before a run, print lint's warnings to stderr. A run with a remembered plan has shown them before.

    Errors: DiagnosticError OB786 for uploads that would replace what belongs to something else.
    """
    from onnxbuild.report.render_diagnostics import show
    from onnxbuild.rules import check

    found = check(world)
    taken = [one for one in found if one.code == "OB786"]
    if taken:
        raise DiagnosticError(taken)
    show([one for one in found if one.severity == "warning"])


def plan(asked: Asked, *, write_lock: bool) -> tuple[Plan, Mapping[str, Environment]]:
    """The plan of what is asked for, and the environments of its toolchains. Errors: DiagnosticError."""
    from onnxbuild.commands.publishing.local_destinations import files_of_destinations
    from onnxbuild.planning.best_only import begun, with_asked
    from onnxbuild.planning.expand import watched_files
    from onnxbuild.planning.lock_file import lock_path
    from onnxbuild.planning.packages.asked_uploads import check_any, check_offline, without_unasked
    from onnxbuild.planning.select import delivered_named, named, select

    manifest, expansion, lock = planned(asked, write_lock=write_lock)
    whole = with_asked(expansion.graph, asked.selectors)
    graph = without_unasked(begun(select(whole, asked.selectors)), asked.selectors, publish=asked.publish)
    if asked.publish:
        check_any(graph)
    if asked.offline and write_lock:
        check_offline(graph)
    environments = environments_of(manifest, lock, store_root(asked, manifest))
    programs = programs_of(whole)
    made = Plan(
        manifest=manifest,
        graph=graph,
        named=named(whole, asked.selectors) & frozenset(graph.actions),
        delivers=delivered_named(graph, asked.selectors),
        whole=whole,
        watched=(
            *watched_files(manifest, expansion, str(lock_path(asked.manifest))),
            *expansion.directories,
            *plugin_files(all_kinds()),
            *(path for environment in environments.values() for path in environment.watched()),
            *watched_keys(asked, manifest),
            *places_of(programs),
            *_signatures(graph, asked.out),
            *files_of_destinations(graph),
        ),
        variables=variables_of(programs),
        plugins=plugin_places(),
    )
    return made, environments


def _signatures(graph: ActionGraph, out: str | None) -> Iterator[str]:
    """Where the signatures of packages are, or would be: an upload takes them along."""
    names = {(one.model, one.package) for one in graph.uploads if one.action in graph.actions}
    packages = (one.variant.name for one in graph.packages if (one.variant.model, one.name) in names)
    yield from (os.path.abspath(os.path.join(out, name, SIGNATURE)) for name in packages if out is not None)


@contextlib.contextmanager
def session(
    asked: Asked, *, write: bool, jobs: int = 1, remembered: Plan | None = None, also: Kinds | None = None
) -> Iterator[Session]:
    """Open the store and the runner, and close them at the end; `remembered` is a plan that still holds.

    `also`: kinds that a command adds to those of manifests.

    Errors: DiagnosticError, for example OB064 for an output folder (`asked.out`) in the store.
    """
    made, environments = (remembered, {}) if remembered else plan(asked, write_lock=write)
    runner = LocalRunner(environments, threads=max(1, usable_cores() // jobs), jobs=jobs)
    try:
        kinds = {**kinds_at(made.plugins), **(also or {})}
        sharing = sharing_for(asked, made.manifest, kinds, write=write)
        root = store_root(asked, made.manifest)
        if asked.out is not None:
            check_out(asked.out, dict.fromkeys(one.model for one in made.graph.variants), made.manifest, root)
            check_folders(Path(asked.out), made.graph.folders)
            if remembered is None:  # else the run that left the plan has checked it
                check_sources(Path(asked.out), made.whole, made.manifest)
        if write:
            check_store(asked, made.manifest)  # before anything is created
            make_state_folder(asked.manifest)
        with (
            reporting(sharing.remote),
            opened(
                root, write=write, remote=sharing.remote, trust=sharing.trust, say=_nothing if write else _say
            ) as store,
        ):
            yield Session(
                plan=made,
                kinds=kinds,
                store=store,
                runner=runner,
                scope=os.path.realpath(asked.manifest),
                state=state_for(asked.manifest, store),
                out=Path(asked.out) if asked.out is not None else None,
            )
    finally:
        runner.close()


def _say(text: str) -> None:
    print(on_one_line(text), file=sys.stderr)


def _nothing(_text: str) -> None:
    """A run shows its progress in another way."""


@contextlib.contextmanager
def reporting(remote: Remote | None) -> Iterator[None]:
    """At the end, report on stderr what was wrong with the remote store: by then the live view has ended."""
    try:
        yield
    finally:
        if remote is not None and remote.warnings:
            from onnxbuild.report.render_diagnostics import show

            show(remote.warnings, sys.stderr)


def memory_limit() -> float:
    """The limit on the estimated memory of actions that run together: most of what is free now, to stay out of swap."""
    available = available_memory()
    return float("inf") if available is None else 0.8 * available


def default_jobs() -> int:
    """As many actions at once as there are cores, at most four: beyond that, memory runs out before cores do."""
    return min(4, usable_cores())


def write_result(text: str, output: str | None) -> None:
    """Write a text to a file, or to stdout if none is named. Errors: DiagnosticError OB016."""
    text = printable(redacted(text))
    if output is None:
        sys.stdout.write(text)
        return
    write_file(text, output)


def write_file(content: str | bytes, output: str) -> None:
    """Write a file that the command line names. Errors: DiagnosticError OB016."""
    try:
        write_named(output, content)
    except OSError as error:
        raise _unwritable(output, error) from None


def check_output(output: str) -> None:
    """Check, before the work, that a named file can be replaced. Errors: DiagnosticError OB016."""
    try:
        check_named(output)
    except OSError as error:
        raise _unwritable(output, error) from None


def _unwritable(output: str, error: OSError) -> DiagnosticError:
    message = f"`{output}` cannot be written: {error.strerror}"
    return DiagnosticError(fault("OB016", message, hint=hint_for(error, output)))
