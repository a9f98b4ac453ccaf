"""What runs in a model's own process: tokenizer, ONNX Runtime session, sampling."""
