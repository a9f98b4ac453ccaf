"""Artifacts by content, traces by key: what onnxbuild remembers."""
