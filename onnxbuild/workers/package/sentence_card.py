"""The README of a package for sentence-transformers: which files it has, and how each library loads them."""

from __future__ import annotations

from collections.abc import Sequence

from onnxbuild.steps.packaging.sentence_package import SentenceParams
from onnxbuild.tables.publishing.sentence_tasks import is_embedder_task, pipeline_tag

_CARD = """---
library_name: sentence-transformers
pipeline_tag: {tag}
tags:
- sentence-transformers
- onnx
---

# ONNX models for sentence-transformers

The examples run in the folder of this file, and load the last of these graphs.

| file | target |
|---|---|
{rows}

## With sentence-transformers

```sh
pip install "sentence-transformers[onnx]>=5,<6"
```

```python
{library}
```

## Without torch

`onnx_model.py` needs only `onnxruntime`, `tokenizers` and `numpy`, and returns the same numbers.

```sh
pip install onnxruntime tokenizers numpy
```

```python
{alone}
```

`onnxbuild.json` says what each file was made from, and `sha256sum -c SHA256SUMS` checks the files.
"""

_EMBEDDER = """from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".", backend="onnx", model_kwargs={{"file_name": "{name}"}})
print(model.encode(["a text", "another one"]).shape)"""
_CROSS_ENCODER = """from sentence_transformers import CrossEncoder

model = CrossEncoder(".", backend="onnx", model_kwargs={{"file_name": "{name}"}})
print(model.predict([("a query", "a text"), ("a query", "another text")]))"""
_EMBEDDER_ALONE = """from onnx_model import OnnxModel

model = OnnxModel(".", "{name}")
print(model.encode(["a text", "another one"]).shape)"""
_CROSS_ENCODER_ALONE = """from onnx_model import OnnxModel

model = OnnxModel(".", "{name}")
print(model.predict([("a query", "a text"), ("a query", "another text")]))"""


def card(params: SentenceParams, graphs: Sequence[str]) -> str:
    """The text of the README. The names of targets are those of a manifest, and need no escape."""
    embeds = is_embedder_task(params.task)
    name = graphs[-1].rpartition("/")[2]
    rows = "\n".join(f"| `{graph}` | {target} |" for graph, target in zip(graphs, params.graphs.values(), strict=True))
    return _CARD.format(
        tag=pipeline_tag(params.task),
        rows=rows,
        library=(_EMBEDDER if embeds else _CROSS_ENCODER).format(name=name),
        alone=(_EMBEDDER_ALONE if embeds else _CROSS_ENCODER_ALONE).format(name=name),
    )
