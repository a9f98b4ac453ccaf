"""The weights of a checkpoint, read one at a time from any number of files, and written in files of bounded size."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from onnxbuild.tables.checkpoints.shards import index_among, shards_in
from onnxbuild.workers.folders.model_files import files_below

_MOST_BYTES = 2 << 30  # of one file that is written, which is in memory until then


class WeightFiles:
    """Weights by name, whichever file of a checkpoint has them."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._readers: dict[str, Any] = {}
        for path in _files(folder):
            self._open(path)
        self.names = tuple(sorted(self._readers))

    def tensor(self, name: str) -> Any:
        """A weight as a tensor of PyTorch, in its own type."""
        reader = self._readers[name]
        return reader[name] if isinstance(reader, dict) else reader.get_tensor(name)

    def array(self, name: str) -> np.ndarray:
        """A weight as an array."""
        array: np.ndarray = np.ascontiguousarray(self.tensor(name).numpy())
        return array

    def _open(self, path: Path) -> None:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            reader = self._stack.enter_context(safe_open(path, "pt"))
            self._readers |= dict.fromkeys(reader.keys(), reader)
            return
        import torch

        weights = torch.load(path, map_location="cpu", weights_only=True)
        self._readers |= dict.fromkeys(weights, weights)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _files(folder: Path) -> list[Path]:
    names = files_below(folder)
    index = index_among(names)
    if index is not None:
        return [folder / name for name in shards_in(json.loads((folder / index).read_bytes())) or ()]
    return [folder / name for name in ("model.safetensors", "pytorch_model.bin") if name in names][:1]


class WeightWriter:
    """Writes weights as transformers reads them: `model.safetensors`, or shards with their index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, Any] = {}
        self._bytes = 0
        self._written: list[tuple[Path, tuple[str, ...]]] = []

    def add(self, name: str, weight: Any) -> None:
        """Add a tensor of PyTorch or an array."""
        import torch

        tensor = torch.from_numpy(weight) if isinstance(weight, np.ndarray) else weight
        size = tensor.numel() * tensor.element_size()
        if self._waiting and self._bytes + size > _MOST_BYTES:
            self._flush()
        self._waiting[name] = tensor.contiguous()
        self._bytes += size

    def _flush(self) -> None:
        from safetensors.torch import save_file

        path = self._folder / f"part-{len(self._written)}.safetensors"
        save_file(self._waiting, path, {"format": "pt"})
        self._written.append((path, tuple(self._waiting)))
        self._waiting, self._bytes = {}, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        self._flush()
        if len(self._written) == 1:
            self._written[0][0].rename(self._folder / "model.safetensors")
            return
        total = len(self._written)
        weights: dict[str, str] = {}
        for number, (path, names) in enumerate(self._written, 1):
            shard = f"model-{number:05d}-of-{total:05d}.safetensors"
            path.rename(self._folder / shard)
            weights |= dict.fromkeys(names, shard)
        index = {"metadata": {}, "weight_map": dict(sorted(weights.items()))}
        (self._folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
