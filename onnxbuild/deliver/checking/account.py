"""All of `onnxbuild.json` that somebody reads who has only the folder. Fields that older files lack have defaults."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.deliver.provenance import PROVENANCE, is_check, proofs_among
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.regular_files import NotRegular, is_folder, is_link, read_regular

MOST_BYTES = 64 << 20
_HINT = "name a folder that `onnxbuild run` has written, or a copy of one"
_MOST_COMPARED = 100  # folders below one that is no output, such as `out/`


class Listed(Struct, frozen=True):
    """What a file has to be."""

    blake3: str
    bytes: int


class StepMade(Struct, frozen=True, kw_only=True):
    """A step that was run for the folder."""

    id: str
    kind: str
    key: str = ""
    version: int = 0
    params: Mapping[str, Any] = {}
    packages: Mapping[str, str] = {}
    toolchain: Mapping[str, Any] = {}
    inputs: Mapping[str, str] = {}
    outputs: Mapping[str, str] = {}
    facts: Mapping[str, Any] = {}


class SourceRead(Struct, frozen=True, kw_only=True):
    """Where a model or its adapter comes from."""

    step: str
    kind: str = ""
    repository: str = ""
    commit: str = ""
    architecture: str = ""
    package: str = ""
    digest: str | None = None
    license: str | None = None
    license_from: str | None = None


class RowsRead(Struct, frozen=True, kw_only=True):
    """Where the rows of a dataset come from."""

    digest: str
    repository: str = ""
    commit: str = ""
    files: tuple[str, ...] = ()


class Account(Struct, frozen=True, kw_only=True):
    """What a folder says about itself."""

    model: str
    target: str
    files: Mapping[str, Listed]
    onnxbuild: str = ""
    precision: str = ""
    steps: tuple[StepMade, ...] = ()
    sources: tuple[SourceRead, ...] | None = None
    datasets: Mapping[str, RowsRead] = {}

    @property
    def name(self) -> str:
        """`model/target`, as in selectors."""
        return f"{self.model}/{self.target}"

    @property
    def checks(self) -> tuple[StepMade, ...]:
        """The steps that have checked the files, without those that have checked what the files were made from."""
        proofs = proofs_among(self.steps)
        return tuple(step for step in self.steps if is_check(step.kind) and step.id not in proofs)

    @property
    def origins(self) -> tuple[SourceRead, ...]:
        """Its sources; those of a file that does not list them are read from its steps."""
        if self.sources is not None:
            return self.sources
        return tuple(_source(step) for step in self.steps if step.kind == "fetch")

    @property
    def task(self) -> str:
        """The task that its steps were given; empty if it is not known."""
        return next((str(task) for step in self.steps if (task := step.params.get("task"))), "")


def _source(step: StepMade) -> SourceRead:
    """The source of a fetch."""
    text = {name: str(step.params.get(name) or "") for name in ("origin", "repo", "revision", "architecture")}
    return SourceRead(
        step=step.id,
        kind="local" if text["origin"] == "files" else text["origin"],
        repository=text["repo"],
        commit=text["revision"],
        architecture=text["architecture"],
        digest=step.outputs.get("model"),
    )


def account_of(folder: Path) -> tuple[Account, bytes]:
    """The account in a folder, and its text. Errors: DiagnosticError OB750 for anything that is not such a folder."""
    text = _text(folder)
    try:
        account = msgspec.json.decode(text, type=Account)
    except (ValueError, RecursionError) as error:
        reason = "its values are nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _none(f"`{folder / PROVENANCE}` is damaged: {reason}") from None
    if not account.files:
        raise _none(f"`{folder / PROVENANCE}` is damaged: it lists no files")
    return account, text


def _text(folder: Path) -> bytes:
    if is_link(str(folder)):
        raise _none(f"`{folder}` is a symbolic link", "name the folder that it leads to")
    if not is_folder(str(folder)):
        raise _none(f"`{folder}` is not a folder" if folder.exists() else f"`{folder}` does not exist")
    try:
        return read_regular(folder / PROVENANCE, MOST_BYTES)
    except FileNotFoundError:
        raise _none(f"`{folder}` has no `{PROVENANCE}`", _HINT + example_below(folder)) from None
    except NotRegular as error:
        raise _none(f"`{folder / PROVENANCE}` {error.strerror}") from None
    except OSError as error:
        raise _none(f"`{folder / PROVENANCE}` cannot be read: {error.strerror}") from None


def example_below(folder: Path) -> str:
    """The end of a hint: a folder with an account, in a folder of several; empty if there is none."""
    accounts = itertools.chain(folder.glob(f"*/{PROVENANCE}"), folder.glob(f"*/*/{PROVENANCE}"))
    first = min(itertools.islice(accounts, _MOST_COMPARED), default=None)
    return f", such as `{first.parent}`" if first else ""


def _none(message: str, hint: str = _HINT) -> DiagnosticError:
    return DiagnosticError(fault("OB750", message, hint=hint), exit_code=1)
