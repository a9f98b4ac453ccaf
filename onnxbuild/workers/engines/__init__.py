"""Engines that run a model, ONNX Runtime and PyTorch, and the measurement of their time."""
