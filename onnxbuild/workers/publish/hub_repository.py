"""Publishes to a repository of the Hub: one commit or one pull request, and tags that name the content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from msgspec import UNSET
from msgspec.structs import replace

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.publishing.difference import Difference, RemoteFile, difference
from onnxbuild.publishing.other_publication import other_publication
from onnxbuild.publishing.sha256_sums import sha256_of_bytes
from onnxbuild.publishing.uploaded_files import ACCOUNT, SUMS, LocalFile, Upload, listed
from onnxbuild.steps.publish import PublishParams
from onnxbuild.workers.libraries.hub_tries import again
from onnxbuild.workers.publish.hub_failures import explained, is_stale
from onnxbuild.workers.publish.hub_session import Connected, connected, identified
from onnxbuild.workers.publish.others_files import check_others

# https://huggingface.co/docs/hub/storage-limits: a single file may have 50 GB at most.
LARGEST_FILE = 50 * 10**9
_TRIES = 3  # comparisons, where other commits come in between
_MOST_PULLS = 20  # pull requests that are compared with the upload, the newest first


class _State(NamedTuple):
    """A repository at one commit, and how the upload differs from it."""

    head: str
    changes: Difference
    is_first: bool


def publish_to_hub(params: PublishParams, upload: Upload, tell: Tell) -> tuple[Facts, Difference]:
    """Upload what differs. Errors: CheckFailed OBE200 to OBE209."""
    _check_sizes(upload)
    hub = connected(None if params.endpoint is UNSET else params.endpoint)
    try:
        return _published(identified(hub), params, upload, tell)
    except CheckFailed:
        raise
    except Exception as error:
        raise explained(error, params.hub, hub.token) from error


def _published(hub: Connected, params: PublishParams, upload: Upload, tell: Tell) -> tuple[Facts, Difference]:
    tell(f"comparing with {params.hub}")
    owned = params.hub.partition("/")[0] in hub.names
    state = _state(hub.api, params.hub, upload)
    if state is None:
        _may_write(hub, params.hub, owned=owned)
        again(lambda: hub.api.create_repo(params.hub, private=params.private, exist_ok=True))
        state = _required(_state(hub.api, params.hub, upload), params.hub)
    tags = (upload.tag, *([params.tag] if params.tag is not UNSET else []))
    _check_tag(hub.api, params, upload)
    as_pull = not owned if params.pull_request == "auto" else params.pull_request
    if state.changes.is_empty:
        commit = state.head
    elif as_pull:
        return _pulled(hub, params, upload, state, tell)
    else:
        _may_write(hub, params.hub, owned=owned)
        commit, state = _committed(hub.api, params, upload, state, tell)
    if owned and not hub.read_only:
        _tag(hub.api, params.hub, commit, tags)
    endpoint = hub.api.endpoint
    return {"commit": commit, "tag": upload.tag, "url": f"{endpoint}/{params.hub}/tree/{commit}"}, state.changes


# -- what is there -----------------------------------------------------------------------------------------------------


def _state(api: Any, repo: str, upload: Upload, revision: str = "main") -> _State | None:
    """The repository as it is now; None if it does not exist."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        head = again(lambda: api.repo_info(repo, revision=revision)).sha
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None
    remote = again(lambda: _tree(api, repo, head))
    before = listed(_content(api, repo, head, SUMS)) if SUMS in remote else None
    changes = difference(upload, remote, before)
    for name in (*changes.replaced, *changes.deleted) if before is not None else ():
        if not remote[name].sha256:  # an edited card is small, and its id in git tells nothing about who wrote it
            remote[name] = RemoteFile(remote[name].size, sha256_of_bytes(_content(api, repo, head, name)))
    changes = difference(upload, remote, before)
    other = other_publication(_content(api, repo, head, ACCOUNT), upload) if ACCOUNT in changes.replaced else ""
    return _State(head, replace(changes, other=other), is_first=before is None)


def _required(state: _State | None, repo: str) -> _State:
    if state is None:
        raise CheckFailed("OBE202", f"{repo} does not exist after its creation", transient=True)
    return state


def _tree(api: Any, repo: str, revision: str) -> dict[str, RemoteFile]:
    found = {}
    for entry in api.list_repo_tree(repo, recursive=True, revision=revision):
        if hasattr(entry, "blob_id"):  # a folder has none
            sha256 = entry.lfs.sha256 if entry.lfs else ""
            found[entry.path] = RemoteFile(entry.size, sha256, "" if sha256 else entry.blob_id)
    return found


def _content(api: Any, repo: str, revision: str, name: str) -> bytes:
    """A small file. `hf_hub_download` uses the address that HF_ENDPOINT had at the import."""
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = f"{api.endpoint}/{repo}/resolve/{revision}/{quote(name)}"

    def get() -> bytes:
        answer = get_session().get(url, headers=build_hf_headers(token=api.token))
        hf_raise_for_status(answer)
        return bytes(answer.content)

    return again(get)


# -- what may be done --------------------------------------------------------------------------------------------------


def _check_sizes(upload: Upload) -> None:
    for name, file in upload.files.items():
        if file.size > LARGEST_FILE:
            hint = "split the weights: `package:` writes external data in parts"
            message = f"{name} has {file.size:,} bytes, and the Hub takes {LARGEST_FILE:,} at most"
            raise CheckFailed("OBE209", message, notes=[("hint", hint)])


def _may_write(hub: Connected, repo: str, *, owned: bool) -> None:
    if hub.read_only:
        hint = "use a token with write access: https://huggingface.co/settings/tokens"
        raise CheckFailed("OBE201", "the token may only read", notes=[("hint", hint)])
    if not owned:
        names = ", ".join(sorted(hub.names))
        hint = "open a pull request with `pull_request: true`, or use a repository of yours"
        message = f"{repo} belongs to others: the token writes for {names}"
        raise CheckFailed("OBE201", message, notes=[("hint", hint)])


def _check_tag(api: Any, params: PublishParams, upload: Upload) -> None:
    """Errors: CheckFailed OBE205 if the tag of the manifest already names other content."""
    if params.tag is UNSET:
        return
    tags = {one.name: one.target_commit for one in again(lambda: api.list_repo_refs(params.hub)).tags}
    if params.tag in tags:
        there = _required(_state(api, params.hub, upload, tags[params.tag]), params.hub)
        if not there.changes.is_empty:
            hint = "write another `tag:`: a tag that people use is never moved"
            message = f"the tag `{params.tag}` of {params.hub} already names other content"
            raise CheckFailed("OBE205", message, notes=[("hint", hint)])


# -- what is done ------------------------------------------------------------------------------------------------------


def _committed(api: Any, params: PublishParams, upload: Upload, state: _State, tell: Tell) -> tuple[str, _State]:
    for attempt in range(1, _TRIES + 1):
        check_others(params, state.changes, is_first=state.is_first)
        try:
            commit = _commit(api, params.hub, upload, state, tell).oid
        except Exception as error:
            if not is_stale(error) or attempt == _TRIES:
                raise
            state = _required(_state(api, params.hub, upload), params.hub)
            if state.changes.is_empty:
                return state.head, state
        else:
            return commit, state
    raise AssertionError("BUG: the last try neither returned nor failed")


def _commit(api: Any, repo: str, upload: Upload, state: _State, tell: Tell, **options: Any) -> Any:
    changes = state.changes
    names = changes.uploaded
    tell(f"uploading {len(names)} files to {repo}", 0, sum(upload.files[name].size for name in names))
    return again(
        lambda: api.create_commit(
            repo,
            list(_operations(upload.files, names, changes.deleted)),
            commit_message=f"Publish {upload.tag}",
            commit_description=f"Uploaded by onnxbuild. sha256 of the list of files: {upload.digest}",
            parent_commit=state.head,
            **options,
        )
    )


def _operations(files: Mapping[str, LocalFile], changed: Iterable[str], deleted: Iterable[str]) -> Iterable[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    for name in changed:
        content = files[name].content
        yield CommitOperationAdd(name, files[name].path if content is None else content)
    for name in deleted:
        yield CommitOperationDelete(name)


def _pulled(
    hub: Connected, params: PublishParams, upload: Upload, state: _State, tell: Tell
) -> tuple[Facts, Difference]:
    """Open a pull request, unless one with this content is there already. It gets no tag before it is merged."""
    if hub.read_only:
        _may_write(hub, params.hub, owned=True)
    place = f"{hub.api.endpoint}/{params.hub}/discussions"
    number = _open_pull(hub.api, params.hub, upload)
    if number is not None:
        return {"commit": state.head, "pull_request": f"{place}/{number}"}, state.changes
    for attempt in range(1, _TRIES + 1):
        try:
            made = _commit(hub.api, params.hub, upload, state, tell, create_pr=True)
        except Exception as error:
            if not is_stale(error) or attempt == _TRIES:
                raise
            state = _required(_state(hub.api, params.hub, upload), params.hub)
        else:
            return {"commit": made.oid, "pull_request": made.pr_url}, state.changes
    raise AssertionError("BUG: the last try neither returned nor failed")


def _open_pull(api: Any, repo: str, upload: Upload) -> int | None:
    """The number of a pull request that has this content already."""
    refs = again(lambda: api.list_repo_refs(repo, include_pull_requests=True)).pull_requests or ()
    numbers = sorted((int(one.ref.rpartition("/")[2]) for one in refs), reverse=True)
    for number in numbers[:_MOST_PULLS]:
        there = _state(api, repo, upload, f"refs/pr/{number}")
        if there is not None and there.changes.is_empty:
            return number
    return None


def _tag(api: Any, repo: str, commit: str, tags: Iterable[str]) -> None:
    for tag in tags:
        again(lambda name=tag: api.create_tag(repo, tag=name, revision=commit, exist_ok=True))  # type: ignore[misc]
