"""Run as a program by an interpreter that has QEfficient: exports a checkpoint, and prints the place of the graph.

It imports nothing of onnxbuild, so that any interpreter can run it. Its argument is JSON: `checkpoint`, `decodes`,
`batched` and `pooling`. The graph is below QEFF_HOME.
"""

import json
import sys


def main() -> None:
    """Export, and print one line of JSON at the end."""
    order = json.loads(sys.argv[1])
    import QEfficient  # type: ignore[import-not-found]

    if order["decodes"]:
        model = QEfficient.QEFFAutoModelForCausalLM.from_pretrained(
            order["checkpoint"], continuous_batching=order["batched"]
        )
    else:
        pooling = {} if order["pooling"] is None else {"pooling": order["pooling"]}
        model = QEfficient.QEFFAutoModel.from_pretrained(order["checkpoint"], **pooling)
    graph = str(model.export())
    print(json.dumps({"graph": graph, "version": str(getattr(QEfficient, "__version__", ""))}))


if __name__ == "__main__":
    main()
