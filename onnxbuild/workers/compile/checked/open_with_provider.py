"""Opens the graphs of this folder as `compiled.json` says: `python open_with_provider.py`.

It stands alone: the first start on a device compiles the graphs there.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import onnxruntime

# Providers that come as a library of their own: the module that has it.
PLUGINS = {"WebGpuExecutionProvider": "onnxruntime_ep_webgpu"}


def main() -> None:
    """Open each graph with its provider and the properties that were recorded, and print what runs its nodes."""
    folder = Path(__file__).parent
    record = json.loads((folder / "compiled.json").read_text(encoding="utf-8"))
    provider = record["settings"]["provider"]
    if provider not in PLUGINS and provider not in onnxruntime.get_available_providers():
        raise SystemExit(f"{provider} is not in this onnxruntime: install {record['compiler']['name']}")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for name in sorted({stage["file"] for stage in record["stages"].values()}):
        chosen: dict[str, Any] = {"providers": [(provider, record["properties"]), "CPUExecutionProvider"]}
        if provider in PLUGINS:
            options, chosen = _with_plugin(provider, record), {}
        session = onnxruntime.InferenceSession(str(folder / name), options, **chosen)
        parts = {part.ep_name: len(part.get_nodes()) for part in session.get_provider_graph_assignment_info()}
        print(name, parts)
        if parts and provider not in parts:
            raise SystemExit(f"{provider} does not start: `{name}` runs on {', '.join(sorted(parts))}")


def _with_plugin(provider: str, record: dict[str, Any]) -> onnxruntime.SessionOptions:
    """Options of a session with the first device of a plug-in's library."""
    try:
        library = import_module(PLUGINS[provider]).get_library_path()
    except ModuleNotFoundError:
        raise SystemExit(f"{provider} is not here: install {record['compiler']['name']}") from None
    if all(one.ep_name != provider for one in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library(provider, library)
    devices = [one for one in onnxruntime.get_ep_devices() if one.ep_name == provider][:1]
    if not devices:
        raise SystemExit(f"{provider} finds no device")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(devices, record["properties"])
    return options


if __name__ == "__main__":
    main()
