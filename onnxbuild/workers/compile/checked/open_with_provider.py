"""Opens the graphs of this folder as `compiled.json` says: `python open_with_provider.py`.

It stands alone: the first start on a device compiles the graphs there.
"""

import json
from pathlib import Path

import onnxruntime


def main() -> None:
    """Open each graph with its provider and the properties that were recorded, and print what runs its nodes."""
    folder = Path(__file__).parent
    record = json.loads((folder / "compiled.json").read_text(encoding="utf-8"))
    provider = record["settings"]["provider"]
    if provider not in onnxruntime.get_available_providers():
        raise SystemExit(f"{provider} is not in this onnxruntime: install {record['compiler']['name']}")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for name in sorted({stage["file"] for stage in record["stages"].values()}):
        chosen = [(provider, record["properties"]), "CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(folder / name), options, providers=chosen)
        parts = session.get_provider_graph_assignment_info()
        print(name, {part.ep_name: len(part.get_nodes()) for part in parts})


if __name__ == "__main__":
    main()
