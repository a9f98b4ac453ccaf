"""A delivered folder as the server reads it: the task it was built for, its configs, its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from onnxbuild.regular_files import read_regular
from onnxbuild.tables.tasks import proper_name

_LARGEST = 64 << 20  # bytes of a JSON file
# tokenizer_config.json says 1e30 where the tokenizer knows no limit.
_NO_LIMIT = 1 << 30
# Model types whose positions begin after the padding id.
_SHIFTED = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl"})


class UnusableModelError(Exception):
    """The folder cannot be served; the message says why."""


class ModelFolder:
    """The files beside the graph. `task`: that of the model, where no `onnxbuild.json` is beside the graph."""

    def __init__(self, path: Path, task: str = "") -> None:
        self.path = path
        self.config = self.json("config.json")
        self.tokens = self.json("tokenizer_config.json")
        self.generation = self.json("generation_config.json")
        self.sentence = self.json("sentence_bert_config.json")
        self.task = task or task_of(self.json("onnxbuild.json"))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object beside the graph; empty if it is missing."""
        found = self._parsed(name)
        return found if isinstance(found, dict) else {}

    def json_list(self, name: str) -> list[Any]:
        """A JSON list beside the graph; empty if it is missing."""
        found = self._parsed(name)
        return found if isinstance(found, list) else []

    def _parsed(self, name: str) -> Any:
        if not (self.path / name).is_file():
            return None
        try:
            return json.loads(read_regular(self.path / name, _LARGEST))
        except (OSError, ValueError, RecursionError) as error:
            raise UnusableModelError(f"`{name}` cannot be read: {error}") from None

    def text(self, name: str) -> str | None:
        """A text beside the graph; None if it is missing."""
        path = self.path / name
        return read_regular(path, _LARGEST).decode() if path.is_file() else None

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which neither pads nor truncates by itself. Errors: UnusableModelError."""
        path = self.path / "tokenizer.json"
        if not path.is_file():
            raise UnusableModelError("there is no `tokenizer.json`, so texts cannot be read")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 - the Rust library raises no other class
            raise UnusableModelError(f"`tokenizer.json` cannot be read: {error}") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def graph(self) -> Path:
        """The one graph. Errors: UnusableModelError."""
        graphs = sorted(self.path.rglob("*.onnx"))
        if len(graphs) == 1:
            return graphs[0]
        names = ", ".join(path.relative_to(self.path).as_posix() for path in graphs) or "none"
        raise UnusableModelError(f"the server runs models of one graph, and this folder has {len(graphs)}: {names}")

    def positions(self) -> int:
        """How many tokens one item may have."""
        limits = [*self._limits()]
        return min([limit for limit in limits if 0 < limit < _NO_LIMIT], default=_NO_LIMIT)

    def _limits(self) -> Iterator[int]:
        found = (self.sentence.get("max_seq_length"), self.tokens.get("model_max_length"))
        yield from (int(one) for one in found if isinstance(one, int | float))
        for name in ("max_position_embeddings", "n_positions", "n_ctx"):
            if isinstance(limit := self.config.get(name), int):
                shift = int(self.config.get("pad_token_id") or 0) + 1
                yield limit - shift if self.config.get("model_type") in _SHIFTED else limit

    def labels(self, classes: int | None = None) -> tuple[str, ...]:
        """The names of the classes, in the order of the outputs; `classes`: how many the graph has, if it says so.

        transformers leaves the names of two unnamed classes out of config.json. Errors: UnusableModelError for names of
        another number of classes.
        """
        named = self.config.get("id2label") or {}
        if not named:
            return tuple(f"LABEL_{number}" for number in range(classes or int(self.config.get("num_labels") or 2)))
        if classes is not None and len(named) != classes:
            raise UnusableModelError(f"the graph has {classes} classes, and `config.json` names {len(named)}")
        return tuple(str(named[key]) for key in sorted(named, key=int))

    def special(self, name: str) -> str | None:
        """The text of a special token, such as `bos_token`."""
        found = self.tokens.get(name)
        return found.get("content") if isinstance(found, dict) else found


def task_of(description: Mapping[str, Any]) -> str:
    """The task that a delivered folder was built for, from its `onnxbuild.json`; empty if it does not say."""
    # Earlier versions wrote it as a param of some steps alone, which an ONNX source without checks does not have.
    in_steps = (step.get("params", {}).get("task") for step in description.get("steps", ()))
    tasks = (description.get("task"), *in_steps)
    return proper_name(next((task for task in tasks if isinstance(task, str) and task), ""))
