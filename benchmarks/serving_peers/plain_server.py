"""What people write first: FastAPI around a SentenceTransformer. `python plain_server.py FOLDER PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu")
app = FastAPI()


class Body(BaseModel):
    """A text, or several."""

    input: str | list[str]


@app.post("/v1/embeddings")
def embeddings(body: Body) -> dict[str, Any]:
    """One vector for each text; FastAPI runs this in a thread."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    vectors = model.encode(texts, show_progress_bar=False)
    data = [{"object": "embedding", "index": index, "embedding": one.tolist()} for index, one in enumerate(vectors)]
    return {"object": "list", "data": data}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
