"""One module per step kind: the home of torch, transformers, optimum and onnxruntime."""
