"""Sources: what `source:` texts mean, which files count, and what a model's config says before anything is fetched."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Dataset, Model
from onnxbuild.planning.action_graph import FilesSource, RowsSource
from onnxbuild.planning.lock_file import dataset_name, hub_key, hub_name, is_hub_name
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.steps.dataset_rows import ENDINGS
from onnxbuild.tables.checkpoint_files import select_checkpoint, select_onnx

SCHEMES = ("hub", "local", "package", "random", "onnx")

_WEIGHTS = (".safetensors", ".bin", ".onnx", ".onnx_data", ".data")
# A Git-LFS pointer is some 130 bytes of text that stand for a file which was not downloaded.
_LFS_MARK, _LFS_BYTES = b"version https://git-lfs", 1024
_LARGEST_CONFIG = 4 << 20
_SHOWN_FILES = 8


class Fetched(Struct, frozen=True, kw_only=True):
    """A source as planning knows it: params and inputs of its fetch, and what its config says."""

    params: Mapping[str, Any]
    inputs: Mapping[str, FilesSource]
    artifact: Literal["checkpoint", "onnx"] = "checkpoint"
    config: Mapping[str, Any] | None = None
    unlocked: bool = False  # a Hub revision that the lock file does not hold


class SourceReader:
    """Reads sources, each once, and notes what was looked at.

    A later run compares the stats of `files` and `directories` to know that nothing has changed.
    """

    def __init__(self, lock: Lock, faults: list[Diagnostic]) -> None:
        self.files: dict[str, None] = {}
        self.directories: dict[str, None] = {}
        self._lock, self._faults = lock, faults
        self._seen: dict[tuple[str, str], Fetched | None] = {}
        self._hub_rows: dict[str, Fetched | None] = {}

    def fetched(self, model: Model) -> Fetched | None:
        """What a model's `source` stands for; None after a fault."""
        at = model.block.value_span("source")
        if isinstance(model.source, Table):
            return self._random(model.source)
        key = (_folder_of(at), model.source)
        if key not in self._seen:
            self._seen[key] = self._parse(model.source, at)
        return self._seen[key]

    def check_dataset(self, dataset: Dataset) -> None:
        """Faults of a dataset's source: an unknown kind, a missing file, several files to choose from."""
        scheme, _, rest = dataset.source.partition(":") if isinstance(dataset.source, str) else ("", "", "")
        if dataset.files is not None and scheme != "hub":
            message = f"`files` of the dataset `{dataset.name}`, whose source is no `hub:`"
            self._faults.append(fault("OB032", message, span=dataset.span, hint="remove it: the source names the rows"))
        if not isinstance(dataset.source, str):
            return
        if scheme == "file":
            path = _absolute(rest, dataset.span)
            if not path.endswith(ENDINGS):
                message = f"`{dataset.source}` is of no known kind"
                hint = f"expected a file that ends in {', '.join(ENDINGS)}"
                self._faults.append(fault("OB026", message, span=dataset.span, hint=hint))
            elif self._exists(rest, path, dataset.span, os.path.isfile):
                self.files[path] = None
        elif scheme == "hub":
            self._hub_rows[dataset.name] = self._dataset(rest, dataset)
        else:
            self._unknown_scheme(dataset.source, dataset.span, ("file", "hub"))

    def rows(self, dataset: Dataset) -> FilesSource | RowsSource | Fetched | None:
        """A dataset as an input of an action, or how it is fetched; None where `check_dataset` found fault with it."""
        if not isinstance(dataset.source, str):
            return RowsSource(dataset.source)
        scheme, _, rest = dataset.source.partition(":")
        if scheme == "hub":
            return self._hub_rows.get(dataset.name)
        path = _absolute(rest, dataset.span)
        return FilesSource(os.path.dirname(path), (os.path.basename(path),)) if scheme == "file" else None

    def _parse(self, text: str, at: Span) -> Fetched | None:
        scheme, colon, rest = text.partition(":")
        if scheme not in SCHEMES or not colon:
            self._unknown_scheme(text, at, SCHEMES)
            return None
        if not rest.strip():
            self._faults.append(fault("OB026", f"`{text}` names nothing", span=at, hint=_EXAMPLES[scheme]))
            return None
        if scheme == "hub":
            return self._hub(rest, at)
        if scheme == "random":
            params = {"origin": "random", "architecture": rest}
            return Fetched(params=params, inputs={}, config={"model_type": rest})
        root = self._package_folder(rest, at) if scheme == "package" else _absolute(rest, at)
        if root is None:
            return None
        return self._onnx(rest, root, at) if scheme == "onnx" else self._checkpoint(rest, root, at)

    def _unknown_scheme(self, text: str, at: Span, known: tuple[str, ...]) -> None:
        scheme = text.partition(":")[0]
        hint = did_you_mean(scheme, known) if ":" in text else None
        if hint is None and "/" in text and ":" not in text and "hub" in known:
            hint = f"write `hub:{text}` for the Hub, `local:{text}` for a folder"
        hint = hint or f"a source begins with {', '.join(f'`{one}:`' for one in known)}"
        self._faults.append(fault("OB026", f"`{text}` is not a source", span=at, hint=hint))

    def _hub(self, text: str, at: Span) -> Fetched | None:
        if not self._is_on_hub(text, at, _EXAMPLES["hub"]):
            return None
        params, entry = self._locked(text)
        if entry is None:
            return Fetched(params=params, inputs={}, unlocked=True)
        is_onnx = bool(entry.files) and not select_checkpoint(entry.files) and bool(select_onnx(entry.files))
        return Fetched(params=params, inputs={}, artifact="onnx" if is_onnx else "checkpoint", config=entry.config)

    def _is_on_hub(self, text: str, at: Span, example: str) -> bool:
        """Whether a text can name a repository; a fault where not."""
        if not is_hub_name(text):
            self._faults.append(fault("OB026", f"`hub:{text}` is not a source", span=at, hint=example))
            return False
        return True

    def _locked(self, text: str) -> tuple[dict[str, Any], LockedSource | None]:
        """The params of a fetch, at the commit that the lock holds, and its entry; none where it is not locked."""
        repo, revision = hub_name(text)
        entry = self._lock.sources.get(hub_key(text))
        return {"origin": "hub", "repo": repo, "revision": entry.commit if entry else revision}, entry

    def _dataset(self, text: str, dataset: Dataset) -> Fetched | None:
        """The files of a dataset on the Hub, at the commit that the lock holds."""
        if not self._is_on_hub(text, dataset.span, "hub:stanfordnlp/sst2, hub:org/name@v1"):
            return None
        params, entry = self._locked(dataset_name(text))
        if entry is None:
            return Fetched(params=params, inputs={}, unlocked=True)
        chosen = [one for one in entry.files if dataset.files is None or fnmatchcase(one, dataset.files)]
        if problem := _unclear(text, dataset.files, chosen, entry.files):
            self._faults.append(msgspec.structs.replace(problem, span=dataset.span))
            return None
        return Fetched(params={**params, "files": chosen}, inputs={})

    def _random(self, block: Table) -> Fetched | None:
        config = dict(block.get("config", {}))
        params: dict[str, Any] = {
            "origin": "random", "architecture": block["random"], "config": config, "seed": block.get("seed", 0)
        }  # fmt: skip
        inputs: dict[str, FilesSource] = {}
        tokenizer = block.get("tokenizer")
        if isinstance(tokenizer, Table):
            span = tokenizer.value_span("text")
            scheme, _, rest = tokenizer["text"].partition(":")
            if scheme != "file":
                self._unknown_scheme(tokenizer["text"], span, ("file",))
                return None
            path = _absolute(rest, span)
            if not self._exists(rest, path, span, os.path.isfile):
                return None
            params["tokenizer_vocabulary"] = tokenizer.get("vocabulary", 2000)
            inputs["text"] = FilesSource(os.path.dirname(path), (os.path.basename(path),))
        return Fetched(params=params, inputs=inputs, config={**config, "model_type": block["random"]})

    def _package_folder(self, text: str, at: Span) -> str | None:
        """The folder inside an installed package, found without importing the package."""
        from importlib.util import find_spec

        name, _, below = text.partition("/")
        try:
            # A dotted name would import the parents of what it names.
            spec = find_spec(name) if name.isidentifier() else None
        except (ImportError, ValueError):
            spec = None
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            message = f"the package `{name}` is not installed"
            hint = f"`pip install {name.replace('_', '-')}` into the environment of onnxbuild"
            self._faults.append(fault("OB016", message, span=at, hint=hint))
            return None
        return os.path.normpath(os.path.join(places[0], below))

    def _checkpoint(self, text: str, root: str, at: Span) -> Fetched | None:
        if not self._exists(text, root, at, os.path.isdir):
            return None
        names = self._list(root)
        files = select_checkpoint(names)
        if not files:
            self._no_weights(text, names, at)
            return None
        return self._files(root, files, "checkpoint", at)

    def _onnx(self, text: str, path: str, at: Span) -> Fetched | None:
        if not self._exists(text, path, at, os.path.exists):
            return None
        if os.path.isdir(path):
            files = select_onnx(self._list(path))
            if not files:
                self._faults.append(fault("OB027", f"`{text}` holds no .onnx file", span=at))
                return None
            return self._files(path, files, "onnx", at)
        root, name = os.path.split(path)
        # External data is named after its graph by every exporter that writes one file of it.
        beside = [one for one in self._list(root) if one in {f"{name}_data", f"{name}.data"}]
        companions = [one for one in select_onnx([*self._list(root), name]) if not one.endswith(_WEIGHTS)]
        return self._files(root, tuple(sorted({name, *beside, *companions})), "onnx", at)

    def _files(
        self, root: str, files: tuple[str, ...], artifact: Literal["checkpoint", "onnx"], at: Span
    ) -> Fetched | None:
        pointers = [name for name in files if name.endswith(_WEIGHTS) and _is_lfs_pointer(os.path.join(root, name))]
        for name in pointers:
            hint = f"`git lfs pull` in `{root}` downloads the file itself"
            self._faults.append(fault("OB028", f"`{name}` is a Git-LFS pointer, not weights", span=at, hint=hint))
        if pointers:
            return None
        params = {"origin": "files", "files": files}
        faults = len(self._faults)
        config = self._config(root, at) if "config.json" in files else None
        if len(self._faults) > faults:
            return None
        return Fetched(params=params, inputs={"files": FilesSource(root, files)}, artifact=artifact, config=config)

    def _config(self, root: str, at: Span) -> Mapping[str, Any] | None:
        path = os.path.join(root, "config.json")
        self.files[path] = None
        try:
            with open(path, "rb") as file:
                config = json.loads(file.read(_LARGEST_CONFIG))
        except (OSError, ValueError, RecursionError) as error:
            self._faults.append(fault("OB027", f"`{path}` cannot be read: {error}", span=at))
            return None
        if not isinstance(config, dict):
            self._faults.append(fault("OB027", f"`{path}` holds no JSON object", span=at))
            return None
        return config

    def _no_weights(self, text: str, names: list[str], at: Span) -> None:
        hint = "expected model.safetensors or pytorch_model.bin, in one piece or with its index"
        if any(name.endswith(".onnx") for name in names):
            hint = f"it holds ONNX files: write `onnx:{text}`"
        elif any(os.path.basename(name).startswith("adapter_") for name in names):
            hint = "it holds an adapter: merge it into its base model and save that"
        elif any(name.endswith(".gguf") for name in names):
            hint = "GGUF weights cannot be exported: use the original weights"
        self._faults.append(fault("OB027", f"`{text}` holds no weights", span=at, hint=hint))

    def _list(self, root: str) -> list[str]:
        """Files at the top and one folder deep: what the table of files looks at."""
        found: list[str] = []
        folders: list[str] = []
        self.directories[root] = None
        for entry in os.scandir(root):
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                found.append(entry.name)
        for folder in folders:
            if folder == "onnx" or folder[:1].isdigit():
                path = os.path.join(root, folder)
                self.directories[path] = None
                found += [f"{folder}/{entry.name}" for entry in os.scandir(path) if entry.is_file()]
        return sorted(found)

    def _exists(self, text: str, path: str, at: Span, is_there: Any) -> bool:
        if is_there(path):
            return True
        parent, name = os.path.split(path)
        if os.path.exists(path):
            message = f"`{text}` is a {'folder' if os.path.isdir(path) else 'file'}"
            self._faults.append(fault("OB016", message, span=at, hint=None))
            return False
        hint = did_you_mean(name, os.listdir(parent)) if os.path.isdir(parent) else None
        self._faults.append(fault("OB016", f"`{text}` does not exist", span=at, hint=hint or f"looked for `{path}`"))
        return False


_EXAMPLES: Mapping[str, str] = {
    "hub": "write `hub:organization/name` or `hub:organization/name@revision`",
    "local": "write `local:path/to/folder`",
    "package": "write `package:package_name/folder`",
    "random": "write `random:gpt2`, or a mapping with `random:`, `config:` and `seed:`",
    "onnx": "write `onnx:path/to/model.onnx` or `onnx:path/to/folder`",
}


def _folder_of(at: Span) -> str:
    """The folder of the file in which a path was written: paths are relative to it."""
    return os.path.dirname(os.path.abspath(at.source.path))


def _absolute(text: str, at: Span) -> str:
    return os.path.normpath(os.path.join(_folder_of(at), os.path.expanduser(text)))


def _is_lfs_pointer(path: str) -> bool:
    try:
        if os.path.getsize(path) > _LFS_BYTES:
            return False
        with open(path, "rb") as file:
            return file.read(len(_LFS_MARK)) == _LFS_MARK
    except OSError:
        return False


def _unclear(repo: str, pattern: str | None, chosen: Sequence[str], files: Sequence[str]) -> Diagnostic | None:
    """What is wrong with the choice of a dataset's files: there are none, or several that nobody chose."""
    shown = ", ".join(files[:_SHOWN_FILES]) + (
        f" and {len(files) - _SHOWN_FILES} more" if len(files) > _SHOWN_FILES else ""
    )
    if not files:
        hint = f"rows are read from {', '.join(ENDINGS)}: download it, convert it, and use `file:`"
        return fault("OB027", f"`hub:{repo}` holds no rows that can be read", hint=hint)
    if not chosen:
        return fault("OB027", f"`files: {pattern}` matches no file of `hub:{repo}`", hint=f"it has {shown}")
    if pattern is None and len(chosen) > 1:
        hint = f"name those that are meant, as in `files: {chosen[-1]}`; it has {shown}"
        return fault("OB012", f"`hub:{repo}` has {len(chosen)} files of rows, and no `files` says which", hint=hint)
    return None
