"""The keys of the manifest language as types, from which the JSON Schema is made.

The blocks of step kinds (`export:`, `optimize:` …) are not here: `json_schema` adds them from the params of the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from onnxbuild.tables import choices, regressions
from onnxbuild.tables.tasks import ALIASES, TASKS

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of models and targets: they become folders, and parts of selectors

TITLE = "onnxbuild manifest"

# Keys of the language that no kind implements yet, by block: the message says so instead of "unknown key".
LATER: Mapping[str, tuple[str, ...]] = {
    TITLE: (),
    "ModelBlock": ("adapters",),
    "TargetBlock": ("run",),
    "NamedTargetBlock": ("run",),
    "Step": ("run",),
    "DatasetBlock": (),
}
# What to write instead of such a key.
INSTEAD: Mapping[str, str] = {
    "adapters": "several adapters that are chosen at run time come later; `adapter:` merges one into the weights",
}

_OF_TARGETS: Mapping[str, str] = {
    **dict.fromkeys(("optimize", "quantize", "precision"), "write it in a target: it makes a variant of the model"),
    **dict.fromkeys(("device", "steps"), "write it in a target"),
    "compile": "write it in a target: a variant is compiled",
}
_OF_MODELS: Mapping[str, str] = {
    **dict.fromkeys(("source", "file", "adapter", "task", "license", "matrix", "targets"), "write it in the model"),
    "export": "write it in the model: all of its targets are made from one export",
    "toolchain": "write it in the model: all of its targets have one toolchain",
    "timeout": "write it in the model: it applies to each of its actions",
    "select": "write it in the model: it chooses among the model's targets",
    "package": "write it in the model: a package is made of the model's targets",
    "publish": "write it in the model: one of the model's packages is published",
}
# Where a key belongs that somebody wrote in another block.
ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "ModelBlock": _OF_TARGETS,
    **dict.fromkeys(("TargetBlock", "NamedTargetBlock", "Step"), _OF_MODELS),
}


CHANGES = ("+5%", "-0.01")  # examples of texts that say how far a figure may move


def _texts(meanings: Mapping[str, str], **more: Any) -> Mapping[str, Any]:
    """Properties of type string, which an editor completes and explains. `more`: what each of them has besides."""
    return {name: {"type": "string", "description": text, **more} for name, text in meanings.items()}


class TokenizerBlock(Struct):
    """A byte-level BPE tokenizer, trained on a text file."""

    text: Annotated[str, Meta(description="the text to train on", examples=["file:data/corpus.txt"])]
    vocabulary: Annotated[int, Meta(description="number of tokens", ge=1)] = 2000


class RandomBlock(Struct):
    """An architecture with seeded random weights: for tests, benchmarks and sizing without a download."""

    random: Annotated[str, Meta(description="model type of transformers", examples=["gpt2", "bert"])]
    config: Annotated[Mapping[str, Any], Meta(description="values over the defaults of the model type's config")] = {}
    seed: Annotated[int, Meta(description="seed of the weights")] = 0
    tokenizer: Annotated[TokenizerBlock | None, Meta(description="tokenizer to train and save with the model")] = None


class DatasetBlock(Struct):
    """Rows of data for calibration and checks."""

    source: Annotated[
        str | list[Mapping[str, Any]],
        Meta(
            description="file:path (jsonl, csv, parquet), hub:org/name@revision, or the rows themselves",
            examples=["file:data/rows.jsonl", "hub:stanfordnlp/sst2"],
        ),
    ]
    files: Annotated[
        str | None,
        Meta(
            description="pattern for the files of a hub: repository; required if it has several",
            examples=["data/validation-*.parquet"],
        ),
    ] = None
    columns: Annotated[
        Mapping[str, str],
        Meta(description="column of each role, such as `text` and `label`", examples=[{"text": "sentence"}]),
    ] = {}
    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="maximum number of rows to use")] = None
    seed: Annotated[int, Meta(description="seed that chooses rows if there are more than `limit`")] = 0


class StoreBlock(Struct):
    """Where results are kept."""

    path: Annotated[str | None, Meta(description="folder of the local store")] = None
    remote: Annotated[
        str | None, Meta(description="address of a store that machines share", examples=["s3://bucket/onnxbuild"])
    ] = None
    readonly: Annotated[bool, Meta(description="read from `remote`, and never write to it")] = False
    sign: Annotated[
        str,
        Meta(
            description="file of the private key that signs what is written to `remote`, or a variable that holds it",
            examples=["ci.key", "${env.ONNXBUILD_KEY}"],
        ),
    ] = ""
    trust: Annotated[
        list[str],
        Meta(
            description="public keys: a result from `remote` is taken only if one of them has signed it",
            examples=[["ci:1PYFqQZ5Y5JXLqMRJyqjVqDZKRxjGgN4e1UoXyOBHLM="]],
        ),
    ] = []


class ToolchainBlock(Struct):
    """A Python environment in which workers run: packages to install, or an interpreter that has them."""

    requirements: Annotated[
        list[str],
        Meta(
            description="packages for pip to install, locked with hashes in onnxbuild.lock",
            examples=[["transformers==5.23.0", "torch==2.13.0", "onnxscript"]],
        ),
    ] = []
    sdist: Annotated[
        list[str],
        Meta(
            description="names of packages that have no wheel: pip builds them, which runs their authors' code",
            examples=[["antlr4-python3-runtime"]],
        ),
    ] = []
    python: Annotated[
        str, Meta(description="path of an existing interpreter, relative to this file", examples=["../tf5/bin/python"])
    ] = ""


class TargetBlock(Struct):
    """A recipe: steps in the short form (optimize, then quantize), or in any order under `steps`."""

    device: Annotated[Literal["cpu", "cuda"], Meta(description="device on which the variant will run")] = "cpu"
    steps: Annotated[
        list[Any],
        Meta(description="steps in the order in which they run, each a mapping with one step kind as its key"),
    ] = []


class NamedTargetBlock(TargetBlock, kw_only=True):
    """A target that belongs to one model."""

    name: Annotated[str, Meta(description="name of the target", examples=["small"])]


class SelectBlock(Struct):
    """The choice of a model's best variant, which gets the folder `best` beside those of the targets."""

    minimize: Annotated[str, Meta(description="figure whose smallest value wins", examples=["latency.p50"])] = ""
    maximize: Annotated[str, Meta(description="figure whose largest value wins", examples=["speedup"])] = ""
    subject_to: Annotated[
        Mapping[str, str],
        Meta(
            description="conditions by figure that the best variant must fulfil",
            examples=[{"cosine_mean": ">= 0.99", "size_mb": "<= 50"}],
            extra_json_schema={"properties": _texts(choices.MEANINGS)},
        ),
    ] = {}


class ModelBlock(Struct):
    """A model, the targets built from it, and how each is checked and measured."""

    source: Annotated[
        str | RandomBlock,
        Meta(
            description="where the model comes from: hub:org/name[@revision], local:path, package:package/folder,"
            " random:type, onnx:path",
            examples=[
                "hub:distilbert/distilbert-base-uncased",
                "local:models/mine",
                "package:my_package/model",
                "random:bert",
                "onnx:models/mine.onnx",
            ],
        ),
    ]
    file: Annotated[
        str | list[str],
        Meta(
            description="the graph to take from an onnx: folder or a hub: repository that has several, or the graphs"
            " that together are one model",
            examples=["onnx/model.onnx", ["encoder_model.onnx", "decoder_model_merged.onnx"]],
        ),
    ] = []
    adapter: Annotated[
        str,
        Meta(
            description="adapter of peft (LoRA and others) that is merged into the source: hub:org/name[@revision] or"
            " local:path; `none` leaves out one that lies beside the weights",
            examples=["hub:me/my-lora", "local:loras/mine"],
        ),
    ] = ""
    task: Annotated[
        str,
        Meta(
            description="what the model does; by default, the task that config.json implies",
            examples=[*TASKS, *ALIASES],
        ),
    ] = ""
    license: Annotated[
        str,
        Meta(
            description="license of the source, for `onnxbuild.json`, where the source itself does not state it",
            examples=["apache-2.0", "mit"],
            pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,39}$",
            extra_json_schema={
                "patternErrorMessage": "expected up to 40 letters, digits, `.`, `+` and `-`, the first a letter or a"
                " digit"
            },
        ),
    ] = ""
    toolchain: Annotated[str, Meta(description="name of the toolchain in which the actions of this model run")] = ""
    timeout: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="seconds after which an action of this model is stopped")
    ] = None
    matrix: Annotated[
        Mapping[str, list[Any]],
        Meta(
            description="one model for each combination of the values; use `${matrix.axis}` in the name and in values;"
            " `exclude` leaves combinations out",
            examples=[{"size": ["gpt2", "gpt2-medium"]}],
        ),
    ] = {}
    select: Annotated[
        SelectBlock | None,
        Meta(description="which variant is the best one; its files are also written to the folder `best`"),
    ] = None
    targets: Annotated[
        list[str | NamedTargetBlock],
        Meta(description="targets to build: names of shared targets, or inline targets with a `name`"),
    ] = []


class ManifestFile(Struct):
    """What to build: models from sources, each in several variants, checked and measured."""

    onnxbuild: Annotated[Literal[1], Meta(description="version of the manifest language")]
    models: Annotated[Mapping[str, ModelBlock], Meta(description="models by name")]
    include: Annotated[
        str | list[str], Meta(description="further files, relative to this one, whose entries are added to those here")
    ] = []
    vars: Annotated[Mapping[str, Any], Meta(description="values for `${vars.name}`; `-D name=value` overrides")] = {}
    datasets: Annotated[Mapping[str, DatasetBlock], Meta(description="datasets by name")] = {}
    targets: Annotated[
        Mapping[str, TargetBlock], Meta(description="recipes that several models can share, by name")
    ] = {}
    toolchains: Annotated[
        Mapping[str, ToolchainBlock], Meta(description="Python environments for workers, by name")
    ] = {}
    regressions: Annotated[
        Mapping[str, str],
        Meta(
            description="how much worse a figure may be than in the build that `run --against` names: a share (`+5%`)"
            " or an amount (`-0.01`)",
            examples=[{"latency.p50": "+5%", "cosine_mean": "-0.005"}],
            extra_json_schema={"properties": _texts(regressions.MEANINGS, examples=[*CHANGES])},
        ),
    ] = {}
    defaults: Annotated[ModelBlock | None, Meta(description="values for every model that does not set its own")] = None
    store: Annotated[StoreBlock | None, Meta(description="where results are kept")] = None
