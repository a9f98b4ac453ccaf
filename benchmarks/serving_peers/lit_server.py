"""LitServe around the same ONNX model, with its batching. `python lit_server.py FOLDER PORT`."""

# No annotations from the future: LitServe reads those of `decode_request` as they are.
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FOLDER, PORT = Path(sys.argv[1]), int(sys.argv[2])


class Embedder(litserve.LitAPI):  # type: ignore[misc]
    """One vector for each text."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe calls it so
        """Open the tokenizer and the graph."""
        self.tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()
        self.session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self.session.get_inputs()]

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """The text of a request."""
        return str(request["input"])

    def batch(self, inputs: list[str]) -> list[str]:
        """The texts of a batch."""
        return inputs

    def predict(self, texts: list[str]) -> Any:
        """The vectors of a batch."""
        found = self.tokenizer.encode_batch(texts)
        fields = {
            "input_ids": [one.ids for one in found],
            "attention_mask": [one.attention_mask for one in found],
            "token_type_ids": [one.type_ids for one in found],
        }
        feeds = {name: np.asarray(fields[name], dtype=np.int64) for name in self.inputs}
        return self.session.run(["sentence_embedding"], feeds)[0]

    def unbatch(self, output: Any) -> Any:
        """A vector for each text."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The answer for one text."""
        return {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": output.tolist()}]}


if __name__ == "__main__":
    api = Embedder(max_batch_size=32, batch_timeout=0.002, api_path="/v1/embeddings")
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning"
    )
