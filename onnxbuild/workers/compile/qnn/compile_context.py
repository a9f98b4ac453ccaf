"""Compiles a graph for Qualcomm's HTP: `python compile_context.py GRAPH.onnx CONTEXT.onnx [OPTION=VALUE …]`.

It stands alone: with onnxruntime and onnxruntime-qnn, it runs wherever it is copied to.
"""

import sys

import onnxruntime
import onnxruntime_qnn

NAME = "QNNExecutionProvider"


def main(graph: str, context: str, *given: str) -> None:
    """Write CONTEXT.onnx and its binary; nothing of the graph may be left to the CPU."""
    onnxruntime.register_execution_provider_library(NAME, onnxruntime_qnn.get_library_path())
    devices = [one for one in onnxruntime.get_ep_devices() if one.ep_name == NAME]
    options = onnxruntime.SessionOptions()
    entries = {
        "ep.context_enable": "1",
        "ep.context_embed_mode": "0",
        "ep.context_file_path": context,
        "session.disable_cpu_ep_fallback": "1",
    }
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    chosen = dict(one.split("=", 1) for one in given)
    options.add_provider_for_devices(devices[:1], {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), **chosen})
    onnxruntime.InferenceSession(graph, options)


if __name__ == "__main__":
    main(*sys.argv[1:])
