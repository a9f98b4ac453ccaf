"""The difference between each package and its destination, for `plan`: with the last upload, or with the Hub itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from onnxbuild.commands.publishing.hub_files import files_on
from onnxbuild.commands.publishing.papers import Papers
from onnxbuild.commands.workspace import Session
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.planning.action_graph import PACKAGES, OutputRef, Published
from onnxbuild.planning.hub import Hub
from onnxbuild.publishing.difference import Difference, RemoteFile, difference
from onnxbuild.publishing.uploaded_files import SUMS, Upload, listed, sha256_of_bytes, upload_of_paths
from onnxbuild.report.publishing.difference_text import difference_lines
from onnxbuild.steps.publish import RECEIPT, PublishParams

_HUB = "https://huggingface.co"
_NOT_ASKED = "compared with the last upload from here; `--check-published` asks the Hub"


def upload_texts(opened: Session, outcomes: Mapping[str, Outcome], *, asks: bool) -> Iterator[str]:
    """The lines about each upload of the selected packages. `asks`: whether the Hub is asked what it has.

    Errors: DiagnosticError OB110 if the Hub is asked and does not answer.
    """
    packages = {(one.variant.model, one.name) for one in opened.graph.packages}
    for published in opened.plan.whole.uploads:
        if (published.model, published.package) in packages:
            yield from _lines(published, opened, outcomes, asks=asks)


def _lines(published: Published, opened: Session, outcomes: Mapping[str, Outcome], *, asks: bool) -> Iterator[str]:
    title = f"publish {published.model} ({published.package}) → {published.place}"
    action = opened.plan.whole.actions[published.action]
    params = msgspec.convert(action.params, PublishParams)
    source = action.inputs["package"]
    assert isinstance(source, OutputRef), "BUG: a package is made by an action"
    digest = _output(outcomes.get(source.action), source.port)
    if digest is None:
        yield f"{title}: the package is not built yet, so its files are unknown"
        return
    if any(outcomes[name].outcome != "hit" for name in action.needs if name in outcomes):
        yield f"{title}: its checks or measurements are not up to date, so its card is unknown"
        return
    try:
        upload = _upload(
            opened, digest, params, Papers(opened).texts(f"{published.model}/{PACKAGES}/{published.package}", outcomes)
        )
    except ValueError as error:
        yield f"{title}: {error}"
        return
    if asks and params.hub:
        yield from _asked(title, upload, params)
        return
    before = _last(published, opened)
    words = _NOT_ASKED if before else "never published from here, and the destination was not asked"
    yield from difference_lines(f"{title} ({words})", _since(before, upload))


def _output(outcome: Outcome | None, port: str) -> str | None:
    return None if outcome is None or outcome.outcome != "hit" else outcome.outputs.get(port)


def _upload(opened: Session, digest: str, params: PublishParams, texts: Mapping[str, str]) -> Upload:
    tree = opened.store.tree(digest)
    paths = {file.name: opened.store.content.path(file.digest) for file in tree.files}
    return upload_of_paths(paths, texts=texts, license=params.license, base_model=params.base_model or "")


def _last(published: Published, opened: Session) -> Mapping[str, Any]:
    """The files of the last upload, as its receipt lists them."""
    trace = LastOutcomes(opened.store, opened.scope).trace(published.action)
    if trace is None:
        return {}
    files = {file.name: file.digest for file in opened.store.tree(trace.outputs["receipt"]).files}
    try:
        receipt = msgspec.json.decode(opened.store.content.path(files[RECEIPT]).read_bytes())
    except (OSError, KeyError, ValueError):
        return {}
    found: Mapping[str, Any] = receipt.get("files", {})
    return found


def _since(files: Mapping[str, Any], upload: Upload) -> Difference:
    """The difference from the files of a receipt."""
    remote = {name: RemoteFile(one["bytes"], one["sha256"]) for name, one in files.items()}
    return difference(upload, remote, {name: one.sha256 for name, one in remote.items()})


def _asked(title: str, upload: Upload, params: PublishParams) -> Iterator[str]:
    hub = Hub(_HUB if params.endpoint is msgspec.UNSET else params.endpoint, _token())
    found = files_on(hub, params.hub)
    if found is None:
        yield from difference_lines(f"{title} (the Hub has no such repository yet)", difference(upload, {}, None))
        return
    yield from difference_lines(
        f"{title} (compared with commit {found[0][:12]})", _compared(hub, params, found, upload)
    )


def _compared(
    hub: Hub, params: PublishParams, found: tuple[str, Mapping[str, RemoteFile]], upload: Upload
) -> Difference:
    commit, remote = found
    sums = hub.content(params.hub, commit, SUMS) if SUMS in remote else None
    before = None if sums is None else listed(sums)
    changes = difference(upload, remote, before)
    read = {
        name: RemoteFile(remote[name].size, sha256_of_bytes(hub.content(params.hub, commit, name) or b""))
        for name in (changes.replaced if before is not None else ())
        if not remote[name].sha256
    }
    return difference(upload, {**remote, **read}, before)


def _token() -> str | None:
    """The token of HF_TOKEN or of `hf auth login`."""
    home = os.environ.get("HF_HOME") or os.path.join(os.path.expanduser("~"), ".cache", "huggingface")
    path = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
    written = Path(path).read_text(encoding="utf-8").strip() if os.path.isfile(path) else None
    return os.environ.get("HF_TOKEN") or written or None
