"""Packages for ONNX Runtime itself: its model packages, and folders of onnxruntime-genai."""
