"""The READMEs of model repositories."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec import Struct

_TRITON = """# A model repository for Triton

```sh
docker run --rm -p 8000:8000 -p 8001:8001 -v "$PWD/models:/models" nvcr.io/nvidia/tritonserver:YY.MM-py3 \\
    tritonserver --model-repository=/models
```

`YY.MM` stands for a release of Triton.

| model | what it does |
|---|---|
{rows}

{ensembles}`tokenizer/` has the configs, and the tokenizer or processor, for clients that make inputs themselves.

`onnxbuild.json` says what each graph was made from, and `sha256sum -c SHA256SUMS` checks the files.
"""

_ENSEMBLES = """The tokenizers run in the Python backend, which needs `pip install tokenizers` in the image.

A client asks an ensemble with texts. This one needs `pip install "tritonclient[http]"`:

```python
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput

text = InferInput("text", {shape}, "BYTES")
text.set_data_from_numpy(np.array({value}, dtype=np.object_))
answer = InferenceServerClient("127.0.0.1:8000").infer("{name}", [text])
print(answer.as_numpy("{output}").shape)
```

"""

_OVMS = """# A model repository for OpenVINO Model Server

```sh
docker run --rm -p 8000:8000 -v "$PWD/models:{base}" openvino/model_server:latest \\
    --config_path {base}/config.json --rest_port 8000
```

| model | graph |
|---|---|
{rows}

`tokenizer/` has the configs, and the tokenizer or processor: clients make the inputs of the models themselves.

`onnxbuild.json` says what each graph was made from, and `sha256sum -c SHA256SUMS` checks the files.
"""


_TEXT = "The harbour is quiet tonight."


class Ensemble(Struct, frozen=True):
    """A model that reads text. `batched`: each row of a batch has one; `output`: the first that it returns."""

    name: str
    output: str
    batched: bool


def triton_readme(names: Sequence[str], ensemble: Ensemble | None) -> str:
    """The README of a repository with these models. `ensemble`: one of them, for the example."""
    rows = "\n".join(f"| `{name}` | {_does(name, names)} |" for name in names)
    return _TRITON.format(rows=rows, ensembles="" if ensemble is None else _of_ensemble(ensemble))


def _of_ensemble(ensemble: Ensemble) -> str:
    text = json.dumps(_TEXT)
    shape, value = ("[1, 1]", f"[[{text}]]") if ensemble.batched else ("[1]", f"[{text}]")
    return _ENSEMBLES.format(name=ensemble.name, output=ensemble.output, shape=shape, value=value)


def _does(name: str, names: Sequence[str]) -> str:
    if name.endswith("-ensemble") and name.removesuffix("-ensemble") in names:
        return f"reads `text` and returns the outputs of `{name.removesuffix('-ensemble')}`"
    if name.endswith("-tokenizer") and name.removesuffix("-tokenizer") in names:
        return f"makes the inputs of `{name.removesuffix('-tokenizer')}` from `text`"
    return "runs the graph"


def ovms_readme(names: Sequence[str], base: str, version: int) -> str:
    """The README of a repository with these models."""
    rows = "\n".join(f"| `{name}` | `models/{name}/{version}/model.onnx` |" for name in names)
    return _OVMS.format(rows=rows, base=base)
