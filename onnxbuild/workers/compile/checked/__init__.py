"""The backends that ONNX Runtime compiles for when it loads a graph: tensorrt, cuda, webgpu, coreml, migraphx, dml."""
