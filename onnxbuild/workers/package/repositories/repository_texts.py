"""The READMEs of model repositories."""

from __future__ import annotations

from collections.abc import Sequence

_TRITON = """# A model repository for Triton

```sh
docker run --rm -p 8000:8000 -p 8001:8001 -v "$PWD/models:/models" nvcr.io/nvidia/tritonserver:YY.MM-py3 \\
    tritonserver --model-repository=/models
```

| model | what it does |
|---|---|
{rows}

The tokenizers run in the Python backend, which needs `pip install tokenizers` in the image.

`onnxbuild.json` says what each graph was made from, and `sha256sum -c SHA256SUMS` checks the files.
"""

_OVMS = """# A model repository for OpenVINO Model Server

```sh
docker run --rm -p 8000:8000 -v "$PWD/models:{base}" openvino/model_server:latest \\
    --config_path {base}/config.json --rest_port 8000
```

| model | graph |
|---|---|
{rows}

`onnxbuild.json` says what each graph was made from, and `sha256sum -c SHA256SUMS` checks the files.
"""


def triton_readme(names: Sequence[str]) -> str:
    """The README of a repository with these models."""
    return _TRITON.format(rows="\n".join(f"| `{name}` | {_does(name, names)} |" for name in names))


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
