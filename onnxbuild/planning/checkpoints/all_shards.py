"""Whether a checkpoint in several files is whole: the shards that its index names, or that their numbers imply."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.planning.pinned.lock_checks import is_safe_path
from onnxbuild.regular_files import read_regular
from onnxbuild.tables.checkpoints.shards import LARGEST_INDEX, index_among, is_in_shards, missing_by_number, shards_in

_COPY_ALL = "the download was cut short: copy the whole folder again, or run `git lfs pull` in it"
_REVISION = "the repository is incomplete: name another revision or another repository"


def with_shards(local: LocalFiles, root: str, files: Sequence[str], at: Span) -> tuple[str, ...] | None:
    """The files of a checkpoint with the shards that its index names, however these are called; None after a fault."""
    index = index_among(files)
    if index is None:
        problem = _without_index(files, at, _COPY_ALL) if is_in_shards(files) else None
        local.faults.extend([problem] if problem is not None else [])
        return tuple(files) if problem is None else None
    if not local.may_look_at(root, index):
        return tuple(files)  # `stay_inside` reports it
    named = _named(local, root, index)
    if isinstance(named, str):
        hint = "it is damaged, or belongs to another format: save the checkpoint again"
        local.faults.append(fault("OB027", f"`{index}` cannot be used: {named}", span=at, hint=hint))
        return None
    problems = [problem for name in named if (problem := _unusable(local, root, index, name, at)) is not None]
    local.faults.extend(problems)
    return None if problems else tuple(sorted({*files, *named}))


def incomplete(files: Sequence[str], at: Span) -> Diagnostic | None:
    """OB630 for the files of a repository, of which only the names are known."""
    return _without_index(files, at, _REVISION) if is_in_shards(files) else None


def _without_index(files: Sequence[str], at: Span, hint: str) -> Diagnostic | None:
    missing = missing_by_number(files)
    if missing is not None:
        message = f"the checkpoint lacks `{missing}`, as the numbers of its other files show"
        return fault("OB630", message, span=at, hint=hint)
    if index_among(files) is None:
        shard = next((name for name in files if name.endswith((".safetensors", ".bin"))), "")
        message = f"the checkpoint has shards such as `{shard}`, and no index that says which weights they hold"
        return fault("OB630", message, span=at, hint=hint)
    return None


def _named(local: LocalFiles, root: str, index: str) -> tuple[str, ...] | str:
    """The names in an index, or why there are none."""
    path = os.path.join(root, index)
    local.files[path] = None
    try:
        # In the Hub's cache it is a link; `may_look_at` has checked where it leads.
        named = shards_in(json.loads(read_regular(os.path.realpath(path), LARGEST_INDEX)))
    except (OSError, ValueError, RecursionError) as error:
        return str(error)
    return named if named is not None else "it has no `weight_map`"


def _unusable(local: LocalFiles, root: str, index: str, name: str, at: Span) -> Diagnostic | None:
    if not is_safe_path(name):
        hint = "save the checkpoint again with all of its files in one folder"
        return fault("OB630", f"`{index}` names {name!r}, which is outside the folder", span=at, hint=hint)
    if not local.may_look_at(root, name) or os.path.isfile(os.path.join(root, name)):
        return None  # `stay_inside` reports a link that leads out
    message = f"the checkpoint lacks `{name}`, which `{index}` names"
    return fault("OB630", message, span=at, hint=_COPY_ALL)
