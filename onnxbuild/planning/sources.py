"""Sources of models: what `source:` texts mean, which files count, and what a config says before a download."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct
from msgspec.structs import replace

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Model
from onnxbuild.permissions import is_below
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.planning.checkpoints.adapters_of_models import as_source, beside_weights, unusable
from onnxbuild.planning.checkpoints.all_shards import incomplete, with_shards
from onnxbuild.planning.checkpoints.padding import outside_vocabulary
from onnxbuild.planning.checkpoints.quantized_weights import described_elsewhere
from onnxbuild.planning.graphs.local_graphs import with_data
from onnxbuild.planning.graphs.picked import absent, graphs_in, one_of_them, useless
from onnxbuild.planning.local_files import WEIGHT_SUFFIXES, LocalFiles, absolute_path, folder_of
from onnxbuild.planning.lock_file import hub_key, hub_name, is_hub_name
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.tables.checkpoint_files import CONFIGS, is_onnx_part, select_checkpoint, select_onnx
from onnxbuild.tables.checkpoints.adapters import CONFIG as ADAPTER_CONFIG
from onnxbuild.tables.checkpoints.adapters import select_adapter, weights_of
from onnxbuild.tables.checkpoints.other_libraries import described
from onnxbuild.tables.graph_stages import ambiguous_names

_EXAMPLES: Mapping[str, str] = {
    "hub": "write `hub:organization/name` or `hub:organization/name@revision`",
    "local": "write `local:path/to/folder`",
    "package": "write `package:package_name/folder`",
    "random": "write `random:gpt2`, or a mapping with `random:`, `config:` and `seed:`",
    "onnx": "write `onnx:path/to/model.onnx` or `onnx:path/to/folder`",
}
SCHEMES = tuple(_EXAMPLES)
ADAPTER_SCHEMES = ("hub", "local")
_NOTHING_TO_PICK = "it picks a graph of an `onnx:` folder, or of a `hub:` repository"


class Fetched(Struct, frozen=True, kw_only=True):
    """A source as planning knows it: params and inputs of its fetch, and what its config says."""

    params: Mapping[str, Any]
    inputs: Mapping[str, FilesSource]
    artifact: Literal["checkpoint", "onnx"] = "checkpoint"
    config: Mapping[str, Any] | None = None
    files: tuple[str, ...] | None = None  # names that the fetch takes, None if they are not known
    opset: int | None = None  # the lowest of the graphs of an ONNX source, None if it is not known
    unlocked: bool = False  # a Hub revision that the lock file does not hold


class SourceReader:
    """Reads the sources of models, each once."""

    def __init__(self, lock: Lock, local: LocalFiles) -> None:
        self._lock, self._local, self._faults = lock, local, local.faults
        self._seen: dict[tuple[str, str, tuple[str, ...], str], Fetched | None] = {}

    def fetched(self, model: Model) -> Fetched | None:
        """What a model's `source` stands for; None after a fault."""
        at = model.block.value_span("source")
        has_none = isinstance(model.source, Table) or model.source.startswith(("local:", "package:", "random:"))
        if has_none and self._is_wrong(useless(model, _NOTHING_TO_PICK)):
            return None
        if isinstance(model.source, Table):
            return self._random(model.source)
        key = (folder_of(at), model.source, model.file, model.adapter or "")
        if key not in self._seen:
            self._seen[key] = self._parse(model, model.source, at)
        return self._seen[key]

    def _is_wrong(self, problem: Diagnostic | None) -> bool:
        self._faults.extend([problem] if problem is not None else [])
        return problem is not None

    def _parse(self, model: Model, text: str, at: Span) -> Fetched | None:
        scheme, colon, rest = text.partition(":")
        if scheme not in SCHEMES or not colon:
            self._faults.append(unknown_scheme(text, at, SCHEMES))
            return None
        if not rest.strip():
            self._faults.append(fault("OB026", f"`{text}` names nothing", span=at, hint=_EXAMPLES[scheme]))
            return None
        if scheme == "hub":
            return self._hub(model, rest, at)
        if scheme == "random":
            params = {"origin": "random", "architecture": rest}
            return Fetched(params=params, inputs={}, config={"model_type": rest})
        root = self._package_folder(text, rest, at) if scheme == "package" else absolute_path(rest, at)
        if root is None:
            return None
        return self._onnx(model, rest, root, at) if scheme == "onnx" else self._checkpoint(model, rest, root, at)

    def adapter(self, model: Model, text: str) -> Fetched | None:
        """What a model's `adapter` stands for; None after a fault."""
        at = model.block.value_span("adapter")
        scheme, colon, rest = text.partition(":")
        if scheme not in ADAPTER_SCHEMES or not colon or not rest.strip():
            self._faults.append(unknown_scheme(text, at, ADAPTER_SCHEMES))
            return None
        if scheme == "hub":
            return self._hub_adapter(model, rest, at)
        root = absolute_path(rest, at)
        if not self._local.exists(rest, root, at, os.path.isdir):
            return None
        names = self._local.names_below(root, at)
        config = self._adapter_config(root, names, at)
        if self._are_errors(unusable(model, names, config, at)):
            return None
        fetched = self._files(root, select_adapter(names), "checkpoint", at)
        return None if fetched is None else replace(fetched, config=config)

    def _hub_adapter(self, model: Model, text: str, at: Span) -> Fetched | None:
        if not is_hub_name(text):
            self._faults.append(fault("OB026", f"`hub:{text}` is not a source", span=at, hint=_EXAMPLES["hub"]))
            return None
        params, entry = locked_fetch(text, self._lock)
        params = {**params, "adapter": "take"}
        if entry is None:
            return Fetched(params=params, inputs={}, unlocked=True)
        config = adapter_config_of(entry)
        if self._are_errors(unusable(model, entry.files, config, at)):
            return None
        return Fetched(params=params, inputs={}, config=config, files=select_adapter(entry.files))

    def _adapter_config(self, root: str, names: Sequence[str], at: Span) -> Mapping[str, Any] | None:
        """The adapter_config.json among the files of a folder, if it is there and can be read."""
        if ADAPTER_CONFIG not in names or not self._local.stay_inside(root, [ADAPTER_CONFIG], at):
            return None
        return self._local.config(root, at, ADAPTER_CONFIG)

    def _are_errors(self, problems: Iterable[Diagnostic]) -> bool:
        """Whether there are errors among problems, all of which are reported."""
        found = list(problems)
        self._faults.extend(found)
        return any(one.severity == "error" for one in found)

    def _hub(self, model: Model, text: str, at: Span) -> Fetched | None:
        if not is_hub_name(text):
            self._faults.append(fault("OB026", f"`hub:{text}` is not a source", span=at, hint=_EXAMPLES["hub"]))
            return None
        params, entry = locked_fetch(text, self._lock)
        if entry is None:
            unlocked: Literal["checkpoint", "onnx"] = "onnx" if model.file else "checkpoint"
            return Fetched(params=params, inputs={}, artifact=unlocked, unlocked=True)
        if self._is_wrong(absent(model, entry.files)):
            return None
        checkpoint = () if model.file else select_checkpoint(entry.files)
        if checkpoint:
            if self._is_wrong(
                incomplete(checkpoint, at)
                or beside_weights(model, entry.files, at)
                or described_elsewhere(entry.files, entry.config, at)
            ):
                return None
            if weights_of(entry.files) is not None:
                params = {**params, "adapter": "leave"}
            config = described(entry.config, entry.files)
            return Fetched(params=params, inputs={}, config=config, files=entry.files)
        return self._hub_graphs(model, params, entry, at)

    def _hub_graphs(self, model: Model, params: dict[str, Any], entry: LockedSource, at: Span) -> Fetched | None:
        """A repository of ONNX files; what its graphs refer to is known once they have been downloaded."""
        graphs = model.file or graphs_in(entry.files)
        if not graphs and weights_of(entry.files) is not None:
            self._faults.append(as_source(str(model.source), adapter_config_of(entry), at))
            return None
        if not graphs:
            return Fetched(params=params, inputs={}, config=entry.config, files=entry.files or None)
        several = () if model.file else ambiguous_names(graphs)
        if several:
            message = f"the repository has {len(several)} graphs that are not parts of one model"
            self._faults.append(fault("OB622", message, span=at, hint=one_of_them(several)))
            return None
        files = tuple(sorted({*graphs, *_beside(entry.files)}))
        params = {**params, "files": files}
        return Fetched(params=params, inputs={}, artifact="onnx", config=entry.config, files=files)

    def _random(self, block: Table) -> Fetched | None:
        config = dict(block.get("config", {}))
        params: dict[str, Any] = {
            "origin": "random", "architecture": block["random"], "config": config, "seed": block.get("seed", 0)
        }  # fmt: skip
        inputs: dict[str, FilesSource] = {}
        tokenizer = block.get("tokenizer")
        if isinstance(tokenizer, Table):
            text = self._tokenizer_text(tokenizer)
            if text is None:
                return None
            params["tokenizer_vocabulary"] = tokenizer.get("vocabulary", 2000)
            inputs["text"] = text
        return Fetched(params=params, inputs=inputs, config={**config, "model_type": block["random"]})

    def _tokenizer_text(self, tokenizer: Table) -> FilesSource | None:
        """The text that a tokenizer is trained on; None after a fault."""
        span = tokenizer.value_span("text")
        scheme, _, rest = tokenizer["text"].partition(":")
        if scheme != "file":
            self._faults.append(unknown_scheme(tokenizer["text"], span, ("file",)))
            return None
        path = absolute_path(rest, span)
        if not self._local.exists(rest, path, span, os.path.isfile):
            return None
        self._local.files[path] = None  # a link may lead elsewhere tomorrow: then the manifest is planned again
        return FilesSource(os.path.dirname(path), (os.path.basename(path),))

    def _package_folder(self, written: str, text: str, at: Span) -> str | None:
        """The folder inside an installed package, found without importing the package."""
        from importlib.util import find_spec

        name, _, below = text.partition("/")
        if not name.isidentifier():  # a dotted name would import the parents of what it names
            message = f"`{name}` is not the name of a package"
            self._faults.append(fault("OB026", message, span=at, hint=_EXAMPLES["package"]))
            return None
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            spec = None
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            message = f"the package `{name}` is not installed"
            hint = f"`pip install {name.replace('_', '-')}` into the environment of onnxbuild"
            self._faults.append(fault("OB016", message, span=at, hint=hint))
            return None
        root = os.path.normpath(os.path.join(places[0], below))
        if not is_below(root, os.path.normpath(places[0])):
            self._faults.append(fault("OB060", f"`{written}` is outside the package `{name}`", span=at))
            return None
        self._local.believe(root)
        return root

    def _checkpoint(self, model: Model, text: str, root: str, at: Span) -> Fetched | None:
        if not self._local.exists(text, root, at, os.path.isdir):
            return None
        names = self._local.names_below(root, at)
        files = select_checkpoint(names)
        if not files:
            if weights_of(names) is not None:
                config = self._adapter_config(root, names, at)
                self._faults.append(as_source(str(model.source), config, at))
            else:
                self._no_weights(text, names, at)
            return None
        if self._is_wrong(beside_weights(model, names, at)):
            return None
        whole = with_shards(self._local, root, files, at)
        fetched = self._files(root, whole, "checkpoint", at) if whole is not None else None
        if fetched is None or self._is_wrong(described_elsewhere(names, fetched.config, at)):
            return None
        if fetched.config is not None and "tokenizer_config.json" in files:
            problem = outside_vocabulary(self._local, root, fetched.config, at)
            self._faults.extend([problem] if problem is not None else [])
        return fetched

    def _onnx(self, model: Model, text: str, path: str, at: Span) -> Fetched | None:
        if not self._local.exists(text, path, at, _is_file_or_folder):
            return None
        if os.path.isdir(path):
            return self._onnx_folder(model, text, path, at)
        if self._is_wrong(useless(model, "the source is one graph already")):
            return None
        root, name = os.path.split(path)
        names = self._local.names_below(root, at)
        beside = [one for one in select_onnx([*names, name]) if not one.endswith(WEIGHT_SUFFIXES)]
        return self._graphs(root, (name,), names, beside, at)

    def _onnx_folder(self, model: Model, text: str, root: str, at: Span) -> Fetched | None:
        names = self._local.names_below(root, at)
        graphs = model.file or graphs_in(names)
        if not graphs:
            hint = "graphs are looked for at its top and in `onnx/`: name the folder that holds those of one model"
            self._faults.append(fault("OB027", f"`{text}` contains no .onnx file", span=at, hint=hint))
            return None
        if self._is_wrong(absent(model, names)):
            return None
        return self._graphs(root, graphs, names, _beside(names), at)

    def _graphs(
        self, root: str, graphs: Sequence[str], names: Sequence[str], beside: Sequence[str], at: Span
    ) -> Fetched | None:
        """Graphs, what they refer to, and what else a loader reads."""
        model = with_data(self._local, root, graphs, names, at)
        if model is None:
            return None
        files = tuple(sorted({*model.graphs, *model.data, *beside}))
        fetched = self._files(root, files, "onnx", at, data=model.data)
        return None if fetched is None else replace(fetched, opset=model.opset)

    def _files(
        self,
        root: str,
        files: tuple[str, ...],
        artifact: Literal["checkpoint", "onnx"],
        at: Span,
        *,
        data: tuple[str, ...] = (),
    ) -> Fetched | None:
        if not self._local.stay_inside(root, files, at) or not self._local.are_weights(root, files, at, data):
            return None
        config, place = None, next((name for name in CONFIGS if name in files), None)
        if place is not None:
            config = self._local.config(root, at, place)
            if config is None:
                return None
        if artifact == "checkpoint":
            config = described(config, files)
        params = {"origin": "files", "files": files}
        inputs = {"files": FilesSource(root, files)}
        return Fetched(params=params, inputs=inputs, artifact=artifact, config=config, files=files)

    def _no_weights(self, text: str, names: Sequence[str], at: Span) -> None:
        hint = "expected model.safetensors or pytorch_model.bin, in one piece or with its index"
        if any(name.endswith(".onnx") for name in names):
            hint = f"it contains ONNX files: write `onnx:{text}`"
        elif any(os.path.basename(name).startswith("adapter_") for name in names):
            hint = "it contains parts of an adapter: peft writes `adapter_config.json` and `adapter_model.safetensors`"
        elif any(name.endswith(".gguf") for name in names):
            hint = "GGUF weights cannot be exported: use the original weights"
        self._faults.append(fault("OB027", f"`{text}` contains no weights", span=at, hint=hint))


def _beside(names: Sequence[str]) -> list[str]:
    """What a loader reads besides graphs and their weights."""
    return [name for name in select_onnx([*names, "any.onnx"]) if not is_onnx_part(name)]


def _is_file_or_folder(path: str) -> bool:
    """Whether something can be a model: a FIFO or a device cannot."""
    return os.path.isfile(path) or os.path.isdir(path)


def locked_fetch(text: str, lock: Lock) -> tuple[dict[str, Any], LockedSource | None]:
    """The params of a fetch from the Hub, at the locked commit, and the lock's entry; None if it has none."""
    repo, revision = hub_name(text)
    entry = lock.sources.get(hub_key(text))
    return {"origin": "hub", "repo": repo, "revision": entry.commit if entry else revision}, entry


def adapter_config_of(entry: LockedSource) -> Mapping[str, Any] | None:
    """The config of a repository's adapter, if the lock has it."""
    return None if entry.adapter is UNSET else entry.adapter


def _with_scheme(text: str, known: tuple[str, ...]) -> str | None:
    """What a text without a scheme may mean: a repository on the Hub, or what is on this machine."""
    here = f"`local:{text}` for a folder" if "local" in known else f"`file:{text}` for a file"
    if "hub" in known and is_hub_name(text) and text not in known:
        return f"write `hub:{text}` for the Hub, {here}"
    return f"write {here}" if "/" in text else None


def unknown_scheme(text: str, at: Span, known: tuple[str, ...]) -> Diagnostic:
    """OB026 for a text that begins with no known scheme."""
    scheme = text.partition(":")[0]
    hint = did_you_mean(scheme, known) if ":" in text else None
    if ":" not in text:
        hint = _with_scheme(text, known)
    hint = hint or f"a source begins with {', '.join(f'`{one}:`' for one in known)}"
    return fault("OB026", f"`{text}` is not a source", span=at, hint=hint)
