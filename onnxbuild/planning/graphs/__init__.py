"""What an ONNX source consists of: its graphs, and the files that these refer to."""
