"""The Dockerfile and the README of the package `server`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

DOCKER_IGNORE = "__pycache__\n*.pyc\n.pytest_cache\n"

_DOCKERFILE = """FROM python:{python}-slim

RUN useradd --create-home --uid 10001 server
WORKDIR /server

COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt

COPY app.py answers.py server.json golden.json test_golden.py ./
COPY served ./served
COPY model ./model

USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \\
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["uvicorn", "app:app", "--host", "0.0.0.0", "--port", "8000"]
"""

_README = """# An ONNX model behind HTTP

```sh
pip install -r requirements.txt
uvicorn app:app --host 127.0.0.1 --port 8000
```

or in a container:

```sh
docker build -t model-server .
docker run --rm -p 8000:8000 model-server
```

| address | answer |
|---|---|
{addresses}
| `GET /healthz` | 200 while the process works, 500 if the model cannot be opened |
| `GET /readyz` | 200 once the model is open, 503 before |
| `GET /docs` | the description of the addresses |

`golden.json` has a request and its answer for each address. `pytest test_golden.py` starts the server and compares, \
once `pip install pytest` has run; `python test_golden.py URL` asks a server that runs.

The server answers one request after the other, and checks no keys: put it behind a proxy that does. `onnxbuild serve` \
is the server with batches, queues, keys and metrics.

`served/` is code of `onnxbuild serve`, which needs neither torch nor transformers. `onnxbuild.json` says what the \
model was made from, and `sha256sum -c SHA256SUMS` checks the files.
"""

_MEANINGS = {
    "/v1/embeddings": 'one vector per text of `{"input": [...]}`',
    "/classify": 'the scores by label of each text of `{"input": [...]}`',
    "/token-classify": 'the label of each token of the texts of `{"input": [...]}`',
    "/v1/rerank": 'the documents of `{"query": "...", "documents": [...]}`, the best first',
    "/v1/completions": 'the continuation of `{"prompt": "...", "max_tokens": 16}`',
}


def dockerfile() -> str:
    """The Dockerfile, with the version of Python that recorded the answers."""
    return _DOCKERFILE.format(python=f"{sys.version_info.major}.{sys.version_info.minor}")


def readme(paths: Sequence[str]) -> str:
    """The README for a server with these addresses."""
    return _README.format(addresses="\n".join(f"| `POST {path}` | {_MEANINGS[path]} |" for path in paths))
