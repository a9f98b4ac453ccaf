"""onnxbuild: a YAML manifest becomes exported, optimized, quantized, checked and measured ONNX models."""

__version__ = "0.1.0"
