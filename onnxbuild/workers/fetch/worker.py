"""fetch: brings files from a folder, a Hub repository, or random weights into one plain folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.fetch import DATASETS, FetchParams
from onnxbuild.tables.checkpoint_files import select_checkpoint, select_onnx
from onnxbuild.workers.fetch.hub_access import DEFAULT_ENDPOINT, keep_token_at
from onnxbuild.workers.folders.model_files import copy_files, files_below


def run(params: FetchParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the model's files. Facts: `files`, `bytes`; for random weights also `parameters`."""
    destination = outputs["model"]
    extra: dict[str, int] = {}
    if params.origin == "files":
        copy_files(inputs["files"], params.files, destination, progress)
    elif params.origin == "hub":
        _download(params, destination, progress)
    else:
        from onnxbuild.workers.fetch.random_model import make_random

        extra["parameters"] = make_random(params, inputs.get("text"), destination, progress)
    names = files_below(destination)
    if not names:
        raise CheckFailed("OBE16", "nothing was fetched: the list of files is empty")
    return {"files": len(names), "bytes": sum((destination / name).stat().st_size for name in names), **extra}


def _download(params: FetchParams, destination: Path, tell: Tell) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT") or None
    access: dict[str, Any] = {"endpoint": endpoint, "token": os.environ.get("HF_TOKEN") or None}
    keep_token_at(endpoint or DEFAULT_ENDPOINT)
    rows = params.repo.startswith(DATASETS)
    repo = params.repo.removeprefix(DATASETS)
    place = {"revision": params.revision, "repo_type": "dataset" if rows else "model"}
    tell(f"listing the files of {repo}")
    listing = HfApi(**access).repo_info(repo, files_metadata=True, **place)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in listing.siblings or ()}
    names = params.files if rows else select_checkpoint(sizes) or select_onnx(sizes)
    if not names:
        raise _no_weights(repo, sorted(sizes))
    for name in names:
        _check_name(repo, name)
    done, total = 0, sum(sizes[name] for name in names)
    # Not the shared cache: its files are symlinks into a folder that another process may prune meanwhile.
    with tempfile.TemporaryDirectory(prefix="onnxbuild-fetch-") as scratch:
        for name in names:
            tell(f"downloading {name}", done, total)
            _move(hf_hub_download(repo, name, local_dir=scratch, **access, **place), destination / name)
            done += sizes[name]
    tell(f"downloaded {len(names)} files", total, total)


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
        hint = "it has an adapter: merge it into its base model, save the result, and use that as `local:`"
    elif any(name.endswith(".gguf") for name in names):
        hint = "GGUF weights cannot be exported: use the repository with the original weights"
    else:
        hint = "it has neither safetensors, pytorch_model.bin nor .onnx files in its top folder"
    holds = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")  # noqa: PLR2004
    return CheckFailed("OBE16", f"{repo} has no weights that can be used", notes=[("holds", holds), ("hint", hint)])
