"""The difference between each package and its destination, for `plan`: with the last upload, or with what is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from onnxbuild.commands.publishing.asked_places import in_place
from onnxbuild.commands.publishing.hub_files import files_on
from onnxbuild.commands.publishing.local_destinations import lacking_uploads, last_files
from onnxbuild.commands.publishing.papers import Papers
from onnxbuild.commands.workspace import Session
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.planning.action_graph import PACKAGES, OutputRef, Published
from onnxbuild.planning.hub import Hub
from onnxbuild.publishing.difference import Difference, RemoteFile, as_listed, difference
from onnxbuild.publishing.other_publication import other_publication
from onnxbuild.publishing.plain_places import FolderFiles, compared
from onnxbuild.publishing.planned_upload import PlannedUpload
from onnxbuild.publishing.sha256_sums import sha256_of_bytes
from onnxbuild.publishing.uploaded_files import ACCOUNT, SUMS, Upload, listed, upload_of_paths
from onnxbuild.steps.publish import PublishParams

_HUB = "https://huggingface.co"
_NOT_ASKED = "compared with the last upload from here; `--check-published` asks the destination"
_LAST = "compared with the last upload from here"
_NEVER = "never published from here, and the destination was not asked"

Compared = tuple[str, Difference]  # with what, and how it differs


def planned_uploads(opened: Session, outcomes: Mapping[str, Outcome], *, asks: bool) -> Iterator[PlannedUpload]:
    """Each upload of the selected packages. `asks`: whether the destinations are asked what they have.

    Errors: DiagnosticError OB110 if the Hub is asked and does not answer.
    """
    packages = {(one.variant.model, one.name) for one in opened.graph.packages}
    for published in opened.plan.whole.uploads:
        if (published.model, published.package) in packages:
            compared = _compared(published, opened, outcomes, asks=asks)
            params = msgspec.convert(opened.plan.whole.actions[published.action].params, PublishParams)
            because, changes = (compared, None) if isinstance(compared, str) else compared
            yield PlannedUpload(
                model=published.model,
                package=published.package,
                place=published.place,
                because=because,
                difference=changes,
                overwrites=params.overwrite is True,
            )


def _compared(published: Published, opened: Session, outcomes: Mapping[str, Outcome], *, asks: bool) -> str | Compared:
    """The comparison, or why there is none."""
    action = opened.plan.whole.actions[published.action]
    params = msgspec.convert(action.params, PublishParams)
    source = action.inputs["package"]
    assert isinstance(source, OutputRef), "BUG: a package is made by an action"
    digest = _output(outcomes.get(source.action), source.port)
    if digest is None:
        return "the package is not built yet, so its files are unknown"
    if any(name not in outcomes or outcomes[name].outcome != "hit" for name in action.needs):
        return "its checks or measurements are not up to date, so its card is unknown"
    texts = Papers(opened).texts(f"{published.model}/{PACKAGES}/{published.package}", outcomes)
    try:
        upload = _upload(opened, digest, params, texts)
    except ValueError as error:
        return str(error)
    return _with_destination(published, opened, params, upload, asks=asks)


def _with_destination(
    published: Published, opened: Session, params: PublishParams, upload: Upload, *, asks: bool
) -> Compared:
    if asks and params.hub:
        return _on_hub(upload, params)
    lost = published.action in lacking_uploads(opened.plan.whole, opened.store, opened.scope)
    if params.folder and (asks or lost):
        return "compared with the folder", compared(FolderFiles(Path(params.folder)), upload)[1]
    found = in_place(upload, params) if asks else None
    if isinstance(found, Difference):
        return "compared with the destination", found
    before = last_files(LastOutcomes(opened.store, opened.scope), opened.store, published.action)
    if found is not None:
        return f"{found}; {_LAST if before else 'never published from here'}", _since(before, upload)
    return _NOT_ASKED if before else _NEVER, _since(before, upload)


def _output(outcome: Outcome | None, port: str) -> str | None:
    return None if outcome is None or outcome.outcome != "hit" else outcome.outputs.get(port)


def _upload(opened: Session, digest: str, params: PublishParams, texts: Mapping[str, str]) -> Upload:
    tree = opened.store.tree(digest)
    paths = {file.name: opened.store.content.path(file.digest) for file in tree.files}
    return upload_of_paths(paths, texts=texts, license=params.license, base_model=params.base_model or "")


def _since(files: Mapping[str, Any], upload: Upload) -> Difference:
    """The difference from the files of a receipt."""
    remote = {name: RemoteFile(one["bytes"], one["sha256"]) for name, one in files.items()}
    return difference(upload, remote, as_listed(remote))


def _on_hub(upload: Upload, params: PublishParams) -> Compared:
    hub = Hub(_HUB if params.endpoint is msgspec.UNSET else params.endpoint, _token())
    found = files_on(hub, params.hub)
    if found is None:
        return "the Hub has no such repository yet", difference(upload, {}, None)
    return f"compared with commit {found[0][:12]}", _with_commit(hub, params, found, upload)


def _with_commit(
    hub: Hub, params: PublishParams, found: tuple[str, Mapping[str, RemoteFile]], upload: Upload
) -> Difference:
    commit, remote = found
    sums = hub.content(params.hub, commit, SUMS) if SUMS in remote else None
    before = None if sums is None else listed(sums)
    changes = difference(upload, remote, before)
    read = {
        name: RemoteFile(remote[name].size, sha256_of_bytes(hub.content(params.hub, commit, name) or b""))
        for name in ((*changes.replaced, *changes.deleted) if before is not None else ())
        if not remote[name].sha256
    }
    changes = difference(upload, {**remote, **read}, before)
    there = hub.content(params.hub, commit, ACCOUNT) if ACCOUNT in changes.replaced else None
    return msgspec.structs.replace(changes, other=other_publication(there, upload))


def _token() -> str | None:
    """The token of HF_TOKEN or of `hf auth login`."""
    home = os.environ.get("HF_HOME") or os.path.join(os.path.expanduser("~"), ".cache", "huggingface")
    path = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
    written = Path(path).read_text(encoding="utf-8").strip() if os.path.isfile(path) else None
    return os.environ.get("HF_TOKEN") or written or None
