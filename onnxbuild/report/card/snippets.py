"""What the examples of a card share: which texts they feed, and which files the libraries find by themselves."""

from __future__ import annotations

import json

from msgspec import Struct

from onnxbuild.report.card.subject import Folder
from onnxbuild.tables.publishing.hub_tasks import HubTask, hub_task
from onnxbuild.tables.tasks import reads_pairs

SENTENCES = ("The harbour is quiet tonight.", "No ship is moving in the port.")
QUESTION, CONTEXT = "What is quiet?", "The harbour is quiet tonight. No ship is moving in the port."
VECTORS = "sentence_embedding"  # the output of a graph that has the pooling in it

_ONE = frozenset({"model.onnx"})
_MERGED = frozenset({"encoder_model.onnx", "decoder_model_merged.onnx"})
_PARTS = frozenset({"encoder_model.onnx", "decoder_model.onnx"})


class Snippet(Struct, frozen=True, kw_only=True):
    """An example: how to install what it needs, empty for nothing, and its lines. `notes`: what to know beside it."""

    install: str
    lines: str
    notes: str = ""


def literal(text: str) -> str:
    """A text as it is written in the code of Python and of JavaScript, without anything but ASCII."""
    return json.dumps(text)


def row_of(task: str) -> HubTask | None:
    """What the libraries call a task; None for one that is not known."""
    return hub_task(task) if task else None


def is_one_graph(folder: Folder) -> bool:
    """Whether the whole model is `model.onnx`."""
    return folder.graphs.keys() == _ONE


def is_merged(folder: Folder) -> bool:
    """Whether there are an encoder and one decoder that computes with and without a cache, whatever is beside them."""
    return folder.graphs.keys() >= _MERGED


def is_in_parts(folder: Folder) -> bool:
    """Whether the model is an encoder and decoders under the names of optimum."""
    return is_merged(folder) or folder.graphs.keys() >= _PARTS


def returns_vectors(folder: Folder) -> bool:
    """Whether the graph returns the vectors of texts, rather than those of tokens alone."""
    return is_one_graph(folder) and VECTORS in folder.graphs["model.onnx"].outputs


def has_text(folder: Folder) -> bool:
    """Whether there is a tokenizer that every library reads."""
    return folder.has("tokenizer.json") and folder.has("config.json")


def graph_of(folder: Folder) -> str:
    """The graph that is run first."""
    first = ("model.onnx", "encoder_model.onnx", *sorted(folder.graphs))
    return next((name for name in first if name in folder.graphs), first[0])


def takes_pairs(task: str, folder: Folder) -> bool:
    """Whether the model scores a passage for a question."""
    return example_of(task) == "text" and reads_pairs(task, folder.config)


def example_of(task: str) -> str:
    """What an example gives a model of the task."""
    row = row_of(task)
    return "text" if row is None else row.example
