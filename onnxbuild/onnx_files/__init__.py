"""What can be known of an ONNX file without a framework."""
