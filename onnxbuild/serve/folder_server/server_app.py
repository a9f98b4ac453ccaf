"""Answers requests over HTTP with the ONNX model of this folder.

    uvicorn app:app --host 127.0.0.1 --port 8000

`/healthz` says whether the process is alive, `/readyz` whether the model is open, and `/docs` describes the addresses.
The variable `THREADS` limits the threads of ONNX Runtime. Requests are answered one after the other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse

from onnxbuild.serve.folder_server.server_answers import RefusedError, addresses_of, open_model

HERE = Path(__file__).parent


class Served:
    """The model, once it is open."""

    def __init__(self) -> None:
        self.model: Any = None
        self.failure = ""
        self.turn = threading.Lock()  # a session uses every core, so two requests at once would only share them

    def open(self) -> None:
        """Open the model; what goes wrong is shown by `/healthz`."""
        try:
            self.model = open_model(HERE, int(os.environ["THREADS"]) if "THREADS" in os.environ else None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server must say that it is not healthy
            self.failure = f"{type(error).__name__}: {error}"
            return
        for path, answer in addresses_of(self.model).items():
            app.post(path, name=path)(self._endpoint(answer))
        app.openapi_schema = None

    def _endpoint(self, answer: Callable[[Any, dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], Any]:
        def endpoint(body: dict[str, Any] = Body()) -> Any:  # noqa: B008 - how FastAPI declares a body
            try:
                with self.turn:
                    return answer(self.model, body)
            except RefusedError as error:
                return JSONResponse({"error": {"message": str(error)}}, 422)

        return endpoint


served = Served()


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Open the model beside the server, so that `/healthz` answers from the start."""
    threading.Thread(target=served.open, daemon=True).start()
    yield


app = FastAPI(title="onnxbuild model", lifespan=_lifespan)


@app.get("/healthz")
def healthz() -> Any:
    """200 while the process works; 500 if the model cannot be opened."""
    return JSONResponse({"status": served.failure or "ok"}, 500 if served.failure else 200)


@app.get("/readyz")
def readyz() -> Any:
    """200 once requests can be answered."""
    is_ready = served.model is not None
    return JSONResponse(
        {"status": "ready" if is_ready else served.failure or "opening the model"}, 200 if is_ready else 503
    )
