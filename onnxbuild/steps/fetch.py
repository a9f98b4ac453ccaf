"""fetch: brings a checkpoint or an ONNX model from outside into the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.kind import Kind, Params

# What the repository of a dataset begins with, as in the addresses of the Hub's own pages.
DATASETS = "datasets/"


class FetchParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the model comes from. A model's `source:` sets these."""

    DERIVED: ClassVar[tuple[str, ...]] = ("origin", "files", "repo", "revision", "adapter")

    origin: Annotated[
        Literal["files", "hub", "random"], Meta(description="a local folder, a Hub repository, or random weights")
    ]
    files: Annotated[
        tuple[str, ...], Meta(description="names of files to take, below the source folder or in a repository of rows")
    ] = ()
    repo: Annotated[str, Meta(description="Hub repository; `datasets/…` for one of rows")] = ""
    revision: Annotated[str, Meta(description="commit id, from the lock file")] = ""
    # Unset where a repository does not have both: the others keep the keys that they had.
    adapter: Annotated[
        Literal["take", "leave"] | UnsetType,
        Meta(description="take the adapter of a repository instead of its weights, or leave it beside them"),
    ] = UNSET
    architecture: Annotated[str, Meta(description="model type of transformers, for random weights")] = ""
    task: Annotated[str, Meta(description="task whose head the random weights get")] = ""
    config: Annotated[
        Mapping[str, Any], Meta(description="values over the defaults of the model type's config, for random weights")
    ] = {}
    seed: Annotated[int, Meta(description="seed of the random weights")] = 0
    tokenizer_vocabulary: Annotated[
        int, Meta(description="size of the byte-level BPE tokenizer to train on the input `text`; 0 trains none")
    ] = 0


# transformers and torch draw the weights, so their versions change the numbers. A copy depends on no package.
_RANDOM_PACKAGES = ("transformers", "torch", "tokenizers")

FETCH = Kind(
    name="fetch",
    version=2,
    params=FetchParams,
    inputs={},
    outputs={"model": "checkpoint"},
    worker="onnxbuild.workers.fetch.worker:run",
    pure=True,
    network=lambda params: params.get("origin") == "hub",
    packages=lambda params: _RANDOM_PACKAGES if params.origin == "random" else (),
    transient=True,
    memory_factor=1.0,
)
