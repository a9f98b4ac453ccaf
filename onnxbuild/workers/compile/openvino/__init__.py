"""The backend `openvino`."""
