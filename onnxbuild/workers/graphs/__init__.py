"""ONNX files and what can be done to a graph."""
