"""fetch: brings a checkpoint or an ONNX model from outside into the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from onnxbuild.steps.kind import Kind, Params

# What the repository of a dataset begins with, as in the addresses of the Hub's own pages.
DATASETS = "datasets/"


class FetchParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the model comes from.

    `files`: names below the source folder that are taken (local:, package:, onnx:), or in a repository of rows. `repo`
    and `revision` (a commit id from the lock file): a Hub repository, `datasets/…` for one of rows. `architecture`,
    `config`, `seed`: random weights for a model type, with `config` over the defaults of transformers;
    `tokenizer_vocabulary`: size of the byte-level BPE tokenizer that is trained on the input `text`, 0 for none.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("origin", "files", "repo", "revision")

    origin: Literal["files", "hub", "random"]
    files: tuple[str, ...] = ()
    repo: str = ""
    revision: str = ""
    architecture: str = ""
    task: str = ""
    config: Mapping[str, Any] = {}
    seed: int = 0
    tokenizer_vocabulary: int = 0


# Weights are made by transformers and torch, so their versions tell which numbers come out; a copy depends on no one.
_RANDOM_PACKAGES = ("transformers", "torch", "tokenizers")

FETCH = Kind(
    name="fetch",
    version=2,
    params=FetchParams,
    inputs={},
    outputs={"model": "checkpoint"},
    worker="onnxbuild.workers.fetch.worker:run",
    packages=lambda params: _RANDOM_PACKAGES if params.origin == "random" else (),
    transient=True,
    memory_factor=1.0,
)
