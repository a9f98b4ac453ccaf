"""fetch: brings files from a folder, a Hub repository, or random weights into one plain folder."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.fetch import DATASETS, FetchParams
from onnxbuild.tables.checkpoint_files import select_checkpoint, select_onnx
from onnxbuild.tables.checkpoints.adapters import CONFIG, select_adapter, weights_of
from onnxbuild.tables.checkpoints.shards import index_among
from onnxbuild.workers.fetch.whole_checkpoint import whole
from onnxbuild.workers.folders.model_files import copy_files, files_below
from onnxbuild.workers.folders.model_graphs import check_one_model, data_below
from onnxbuild.workers.libraries.hub_access import DEFAULT_ENDPOINT, keep_token_at
from onnxbuild.workers.libraries.hub_tries import LIMITED, again, is_limited_or_cut, status_of


def run(params: FetchParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the model's files. Facts: `files`, `bytes`; for random weights also `parameters`."""
    destination = outputs["model"]
    extra: dict[str, int] = {}
    if params.origin == "files":
        copy_files(inputs["files"], params.files, destination, progress)
        index = index_among(params.files)
        if index is not None:
            whole(destination / index, params.files)
    elif params.origin == "hub":
        _download(params, destination, progress)
    else:
        from onnxbuild.workers.fetch.random_model import make_random

        extra["parameters"] = make_random(params, inputs.get("text"), destination, progress)
    names = files_below(destination)
    if not names:
        raise CheckFailed("OBE16", "nothing was fetched: the list of files is empty")
    return {"files": len(names), "bytes": sum((destination / name).stat().st_size for name in names), **extra}


class _Repository(NamedTuple):
    """A repository at one commit: the sizes of its files, and how they are downloaded."""

    name: str
    sizes: Mapping[str, int]
    place: Mapping[str, Any]
    tell: Tell

    def take(self, names: Iterable[str], destination: Path) -> None:
        """Download files into a folder."""
        from huggingface_hub import hf_hub_download

        wanted = sorted(names)
        for name in wanted:
            _check_name(self.name, name)
        done, total = 0, sum(self.sizes.get(name, 0) for name in wanted)
        # Not the shared cache: its files are symlinks into a folder that another process may prune meanwhile.
        with tempfile.TemporaryDirectory(prefix="onnxbuild-fetch-") as scratch:
            for name in wanted:
                self.tell(f"downloading {name}", done, total)
                # Each try continues what is in `scratch`.
                take = functools.partial(hf_hub_download, self.name, name, local_dir=scratch, **self.place)
                _move(_patiently(take, self.tell), destination / name)
                done += self.sizes.get(name, 0)
        self.tell(f"downloaded {len(wanted)} files", total, total)


def _download(params: FetchParams, destination: Path, tell: Tell) -> None:
    """Download the files of the plan, and what the graphs among them refer to. Errors: CheckFailed OBE40, OBE80."""
    repository = _opened(params, tell)
    sizes = repository.sizes
    names = params.files or _selected(params, repository.name, sizes)
    if not names:
        raise _no_weights(repository.name, sorted(sizes))
    graphs = {name for name in names if name.endswith(".onnx")}
    if graphs:  # they say what else is needed, and whether they are one model
        repository.take(graphs, destination)
        check_one_model(destination)
    index = index_among(names)
    if index is not None:  # it says which files hold weights, whatever they are called
        repository.take({index}, destination)
        names = (*names, *whole(destination / index, sizes))
    repository.take({*names, *_data(destination, sizes)} - {*graphs, index}, destination)


def _selected(params: FetchParams, repo: str, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The files of a model or of an adapter. Errors: CheckFailed OBE95 for both, where neither was chosen."""
    if params.adapter == "take":
        return select_adapter(sizes)
    checkpoint = select_checkpoint(sizes)
    if checkpoint and params.adapter is UNSET and weights_of(sizes) is not None:
        hint = f"write `adapter: hub:{repo}` to merge it into the weights, or `adapter: none` to leave it out"
        raise CheckFailed("OBE95", f"{repo} has an adapter beside its weights", notes=[("hint", hint)])
    return checkpoint or select_onnx(sizes)


def _opened(params: FetchParams, tell: Tell) -> _Repository:
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT") or None
    access: dict[str, Any] = {"endpoint": endpoint, "token": os.environ.get("HF_TOKEN") or None}
    keep_token_at(endpoint or DEFAULT_ENDPOINT)
    rows = params.repo.startswith(DATASETS)
    repo = params.repo.removeprefix(DATASETS)
    place = {"revision": params.revision, "repo_type": "dataset" if rows else "model"}
    tell(f"listing the files of {repo}")
    look = functools.partial(HfApi(**access).repo_info, repo, files_metadata=True, **place)
    listing = _patiently(look, tell)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in listing.siblings or ()}
    return _Repository(repo, sizes, {**access, **place}, tell)


def _patiently(call: Callable[[], Any], tell: Tell) -> Any:
    """The result of a request, after the waits that the Hub asks for. Errors: CheckFailed OBE15 if it still refuses."""
    try:
        return again(call, is_limited_or_cut, tell)
    except Exception as error:
        if status_of(error) != LIMITED:
            raise
        hint = "wait some minutes, and run it again; with HF_TOKEN, the Hub allows more requests"
        raise CheckFailed("OBE15", "the Hub limits the rate of requests", notes=[("hint", hint)]) from error


def _data(destination: Path, sizes: Mapping[str, int]) -> frozenset[str]:
    """The files of the repository that its graphs refer to. Errors: CheckFailed OBE40 for one that it does not have."""
    data = data_below(destination)
    missing = min(data - sizes.keys(), default=None)
    if missing is not None:
        hint = "the repository is incomplete: name another revision or another repository"
        raise CheckFailed("OBE40", f"a graph has weights in `{missing}`, which is missing", notes=[("hint", hint)])
    return data


def _check_name(repo: str, name: str) -> None:
    """The Hub names the files. Errors: CheckFailed for a name that leads out of the folder they are written to."""
    path = PurePath(name)
    if path.anchor or ".." in path.parts or not name.isprintable():
        raise CheckFailed("OBE16", f"{repo} has a file with the name {name!r}, which leads out of its folder")


def _move(source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def _no_weights(repo: str, names: list[str]) -> CheckFailed:
    if any(name.startswith("adapter_") for name in names):
        hint = f"it has an adapter: name its base model (in {CONFIG}) as the source, and write `adapter: hub:{repo}`"
    elif any(name.endswith(".gguf") for name in names):
        hint = "GGUF weights cannot be exported: use the repository with the original weights"
    else:
        hint = "it has neither safetensors, pytorch_model.bin nor .onnx files in its top folder"
    holds = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")  # noqa: PLR2004
    return CheckFailed("OBE16", f"{repo} has no weights that can be used", notes=[("holds", holds), ("hint", hint)])
