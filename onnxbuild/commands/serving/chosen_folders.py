"""Which delivered folders are served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.state.out_place import check_folders, refuse_link
from onnxbuild.commands.workspace import session
from onnxbuild.deliver.best_variant import chosen_variants, in_words
from onnxbuild.deliver.checking.account import example_below
from onnxbuild.diagnostics import Diagnostic, DiagnosticError, did_you_mean, fault
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import PACKAGES, ActionGraph
from onnxbuild.report.wording import path_from_here
from onnxbuild.serve.running.checked_folder import check_files
from onnxbuild.serve.unusable_folder import UnusableFolderError
from onnxbuild.tables.choices import BEST


class Chosen(Struct, frozen=True):
    """A folder to serve, and what it says of itself."""

    folder: Path
    model: str
    target: str
    is_validated: bool

    @property
    def name(self) -> str:
        """`model/target`."""
        return f"{self.model}/{self.target}"


def plain_folders(paths: Sequence[str]) -> list[Chosen]:
    """Delivered folders that the command line names. Errors: DiagnosticError OB740, OB741, OB742."""
    chosen = [_chosen(Path(path).absolute()) for path in paths]
    names = [one.name for one in chosen]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DiagnosticError(fault("OB740", f"two of the folders are `{twice}`", hint="name each one once"))
    return chosen


def folders_of_manifest(asked: Asked, out: str | None) -> tuple[list[Chosen], list[Diagnostic]]:
    """The folders of a manifest's models, and warnings about builds that are not up to date.

    Errors: DiagnosticError OB740 if it is not clear which, OB741 if it was not built, OB742 if it was changed.
    """
    refuse_link(asked.manifest, out)
    place = out_folder(asked.manifest, out)
    with session(asked._replace(selectors=()), write=False) as opened:
        names = _names(opened.graph, asked.selectors)
        check_folders(place, [tuple(name.split("/", 1)) for name in names])  # type: ignore[misc]
        states = opened.preview()
    unchosen = _without_best(opened.graph, states)
    for name in (one for one in names if one in unchosen and not (place / one / "onnxbuild.json").is_file()):
        raise DiagnosticError(_none_delivered(place / name, unchosen[name]))
    stale = [name for name in names if not _is_up_to_date(opened.graph, name, states)]
    chosen = [_chosen(place / name, f"onnxbuild run {path_from_here(asked.manifest)} {_built(name)}") for name in names]
    earlier = [_earlier_choice(name, unchosen[name]) for name in names if name in unchosen]
    return chosen, [*(_stale(name, asked) for name in stale), *earlier]


def _without_best(graph: ActionGraph, states: Mapping[str, Outcome]) -> Mapping[str, str]:
    """`model/best` of each choice that no variant fulfils, and why."""
    unchosen = (one for one in chosen_variants(graph, states) if one.best is None)
    return {f"{one.choice.model}/{BEST}": in_words(one) for one in unchosen}


def _none_delivered(folder: Path, reason: str) -> Diagnostic:
    hint = f"relax a bound of its `select:`, or name a target: {folder.parent.name}/TARGET"
    return fault("OB741", f"no model was delivered to `{path_from_here(folder)}`: {reason}", hint=hint)


def _earlier_choice(name: str, reason: str) -> Diagnostic:
    hint = "relax a bound of its `select:`, and run it again"
    message = f"`{name}` is an earlier choice, which is served: now {reason}"
    return fault("OB744", message, hint=hint, severity="warning")


def _built(name: str) -> str:
    return name.removesuffix(f"/{BEST}")


def _names(graph: ActionGraph, selectors: Sequence[str]) -> list[str]:
    """`model/target` for each selector; without one, of the only model. Errors: DiagnosticError OB740."""
    models = list(dict.fromkeys(model for model, _ in graph.folders))
    if not selectors and len(models) > 1:
        raise DiagnosticError(fault("OB740", "which models to serve is not clear", hint=f"name some of {_few(models)}"))
    return list(dict.fromkeys(_name(graph, one) for one in selectors or models))


def _name(graph: ActionGraph, selector: str) -> str:
    folders = [f"{model}/{target}" for model, target in graph.folders]
    if selector in folders:
        return selector
    of_model = [name for name in folders if name.startswith(f"{selector}/") and f"/{PACKAGES}/" not in name]
    if f"{selector}/{BEST}" in of_model:
        return f"{selector}/{BEST}"
    if len(of_model) == 1:
        return of_model[0]
    if of_model:
        message = f"`{selector}` has {len(of_model)} variants, and no `select:` chooses the best"
        raise DiagnosticError(fault("OB740", message, hint=f"name one of {_few(of_model)}"))
    near = did_you_mean(selector, [*folders, *(model for model, _ in graph.folders)])
    hint = near or f"there are {_few(folders)}"
    raise DiagnosticError(fault("OB740", f"the manifest has no model or variant `{selector}`", hint=hint))


def _few(names: Sequence[str]) -> str:
    most = 8
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _is_up_to_date(graph: ActionGraph, name: str, states: object) -> bool:
    """Whether a run would find every step and check of a variant done; for the best one, those of all candidates."""
    assert isinstance(states, dict), "BUG: a preview is a dictionary"
    needed = _needed(graph, *name.split("/", 1))
    return all(one in states and states[one].outcome in SUCCEEDED for one in needed)


def _needed(graph: ActionGraph, model: str, target: str) -> Iterator[str]:
    for variant in graph.delivered:
        if variant.model == model and target in {variant.target, BEST}:
            yield from variant.members if target == BEST else variant.needed


def _stale(name: str, asked: Asked) -> Diagnostic:
    hint = f"`onnxbuild run {path_from_here(asked.manifest)} {_built(name)}`; the server takes the new build by itself"
    return fault("OB744", f"`{name}` is not up to date: the last build is served", hint=hint, severity="warning")


def _chosen(folder: Path, build: str | None = None) -> Chosen:
    shown = path_from_here(folder)
    if not (folder / "onnxbuild.json").is_file():
        example = example_below(Path(shown)) or ", such as out/minilm/int8"
        hint = f"`{build}`" if build else f"name a folder that `onnxbuild run` has written{example}"
        raise DiagnosticError(fault("OB741", f"no model was delivered to `{shown}`", hint=hint))
    try:
        described = check_files(folder)
    except UnusableFolderError as error:
        again = f"`{build}` writes it again" if build else "serve the folder as the build has delivered it"
        raise DiagnosticError(fault("OB742", f"{shown}: {error}", hint=error.hint or again)) from None
    return Chosen(folder, described.model, described.target, described.is_validated)
