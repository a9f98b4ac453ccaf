"""The words of the manifest language: what may stand where, as types from which the JSON Schema is made.

The blocks of step kinds (`export:`, `optimize:` …) are not here: `schema` adds them from the params of the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from onnxbuild.tables.tasks import ALIASES, TASKS

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of models and targets: they become folders, and parts of selectors

TITLE = "onnxbuild manifest"

# Known words that no kind implements yet, by the block in which they stand: a person gets told so, not "unknown key".
LATER: Mapping[str, tuple[str, ...]] = {
    TITLE: (),
    "ModelBlock": ("compile", "package", "publish"),
    "TargetBlock": ("compile", "package", "publish", "run"),
    "NamedTargetBlock": ("compile", "package", "publish", "run"),
    "Step": ("compile", "package", "publish", "run"),
    "DatasetBlock": (),
}


class TokenizerBlock(Struct):
    """A byte-level BPE tokenizer, trained on a text file."""

    text: Annotated[str, Meta(description="the text to train on", examples=["file:data/corpus.txt"])]
    vocabulary: Annotated[int, Meta(description="number of tokens", ge=1)] = 2000


class RandomBlock(Struct):
    """An architecture with seeded random weights: for tests, benchmarks and sizing without a download."""

    random: Annotated[str, Meta(description="model type of transformers", examples=["gpt2", "bert"])]
    config: Annotated[Mapping[str, Any], Meta(description="over the defaults of the model type's config")] = {}
    seed: Annotated[int, Meta(description="seed of the weights")] = 0
    tokenizer: Annotated[TokenizerBlock | None, Meta(description="a tokenizer to go with it")] = None


class DatasetBlock(Struct):
    """Rows to check and measure with."""

    source: Annotated[
        str | list[Mapping[str, Any]],
        Meta(description="file:… (jsonl, csv, parquet), hub:org/name@revision, or the rows themselves"),
    ]
    files: Annotated[
        str | None,
        Meta(
            description="which files of a hub: repository, as a pattern; needed where it has several",
            examples=["data/validation-*.parquet"],
        ),
    ] = None
    columns: Annotated[Mapping[str, str], Meta(description="role → column", examples=[{"text": "sentence"}])] = {}
    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="take at most so many rows")] = None
    seed: Annotated[int, Meta(description="seed of the choice where there are more rows than `limit`")] = 0


class StoreBlock(Struct):
    """Where results are kept."""

    path: Annotated[str | None, Meta(description="folder of the local store")] = None
    remote: Annotated[str | None, Meta(description="store shared by machines", examples=["s3://bucket/onnxbuild"])] = (
        None
    )
    readonly: Annotated[bool, Meta(description="take from `remote`, and write nothing to it")] = False


class ToolchainBlock(Struct):
    """A Python environment in which workers run: packages to install, or an interpreter that has them."""

    requirements: Annotated[
        list[str],
        Meta(
            description="what pip is to install, locked with hashes in onnxbuild.lock",
            examples=[["transformers==5.23.0", "torch==2.13.0", "onnxscript"]],
        ),
    ] = []
    python: Annotated[
        str, Meta(description="path of an interpreter, relative to this file", examples=["../tf5/bin/python"])
    ] = ""


class TargetBlock(Struct):
    """A recipe: steps in the short form (optimize, then quantize) or spelt out under `steps`."""

    device: Annotated[Literal["cpu", "cuda"], Meta(description="where the variant is to run")] = "cpu"
    steps: Annotated[list[Any], Meta(description="steps in any order, each a mapping of one step kind")] = []


class NamedTargetBlock(TargetBlock, kw_only=True):
    """A target of one model alone."""

    name: Annotated[str, Meta(description="name of the target", examples=["small"])]


class ModelBlock(Struct):
    """A model, the targets that are built from it, and how each is checked and measured."""

    source: Annotated[
        str | RandomBlock,
        Meta(
            description="hub:org/name[@revision], local:path, package:package/folder, random:type, onnx:path",
            examples=["hub:distilbert/distilbert-base-uncased", "local:models/mine"],
        ),
    ]
    task: Annotated[
        str,
        Meta(
            description="what the model is for; by default what config.json implies",
            examples=[*TASKS, *ALIASES],
        ),
    ] = ""
    toolchain: Annotated[str, Meta(description="name of the toolchain in which this model's actions run")] = ""
    timeout: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="seconds that one action may take")] = None
    matrix: Annotated[
        Mapping[str, list[Any]],
        Meta(
            description="one model for each point; `${matrix.axis}` in the name and the values; `exclude` leaves out",
            examples=[{"size": ["gpt2", "gpt2-medium"]}],
        ),
    ] = {}
    targets: Annotated[
        list[str | NamedTargetBlock], Meta(description="names of shared targets, or targets with a `name` of their own")
    ] = []


class ManifestFile(Struct):
    """What to build: models from sources, each in several variants, checked and measured."""

    onnxbuild: Annotated[Literal[1], Meta(description="version of the manifest language")]
    models: Annotated[Mapping[str, ModelBlock], Meta(description="models by name")]
    include: Annotated[
        str | list[str], Meta(description="further files, relative to this one, whose entries join those here")
    ] = []
    vars: Annotated[Mapping[str, Any], Meta(description="values for `${vars.name}`; `-D name=value` overrides")] = {}
    datasets: Annotated[Mapping[str, DatasetBlock], Meta(description="datasets by name")] = {}
    targets: Annotated[Mapping[str, TargetBlock], Meta(description="recipes that several models share")] = {}
    toolchains: Annotated[Mapping[str, ToolchainBlock], Meta(description="environments for workers, by name")] = {}
    defaults: Annotated[ModelBlock | None, Meta(description="values for every model that does not set them")] = None
    store: Annotated[StoreBlock | None, Meta(description="where results are kept")] = None
