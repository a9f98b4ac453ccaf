"""Run as a program by an interpreter that has QEfficient: exports a checkpoint, and writes down where the graph is.

It imports nothing of onnxbuild, so that any interpreter can run it. Its argument is JSON: `checkpoint`, `batched`,
`pooling` (null for a decoder), `normalized`, and `answer`, the file for the answer. The graph is below QEFF_HOME.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Export, and write the answer."""
    order = json.loads(sys.argv[1])
    import QEfficient  # type: ignore[import-not-found]

    if order["pooling"] is None:
        model = QEfficient.QEFFAutoModelForCausalLM.from_pretrained(
            order["checkpoint"], continuous_batching=order["batched"]
        )
    else:
        pooling = pooling_of(order["pooling"], normalized=order["normalized"])
        model = QEfficient.QEFFAutoModel.from_pretrained(order["checkpoint"], **pooling)
    graph = str(model.export())
    answer = {"graph": graph, "version": str(getattr(QEfficient, "__version__", ""))}
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def pooling_of(mode: str, *, normalized: bool) -> dict[str, Any]:
    """The argument of QEfficient: its own pooling by name, or a function that also gives the vectors the length 1."""
    if mode == "none":
        return {}
    return {"pooling": _NORMALIZED[mode] if normalized else mode}


# QEfficient asks for the names of these arguments.
def normalized_mean(last_hidden_states: Any, attention_mask: Any) -> Any:
    """The mean of the tokens."""
    mask = attention_mask[:, :, None].to(last_hidden_states.dtype)
    return _unit((last_hidden_states * mask).sum(1) / mask.sum(1).clamp(min=1e-9))


def normalized_cls(last_hidden_states: Any, attention_mask: Any) -> Any:  # noqa: ARG001  (the name is asked for)
    """The first token."""
    return _unit(last_hidden_states[:, 0])


def normalized_max(last_hidden_states: Any, attention_mask: Any) -> Any:
    """The largest value of each feature."""
    import torch

    # fp16 holds the value, and no token is below it.
    return _unit(torch.where(attention_mask[:, :, None] > 0, last_hidden_states, -65504.0).max(1).values)


def _unit(vectors: Any) -> Any:
    import torch

    return torch.nn.functional.normalize(vectors, dim=-1)


_NORMALIZED = {"mean": normalized_mean, "cls": normalized_cls, "max": normalized_max}

if __name__ == "__main__":
    main()
