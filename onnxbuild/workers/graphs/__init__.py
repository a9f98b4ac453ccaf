"""ONNX files, and operations on their graphs."""
