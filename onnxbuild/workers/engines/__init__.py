"""What runs a model: ONNX Runtime, PyTorch, and the clock beside them."""
