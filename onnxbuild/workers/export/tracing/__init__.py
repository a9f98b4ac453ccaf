"""What transformers' exporter traces: inputs, pasts as tensors, and loops over a text."""
