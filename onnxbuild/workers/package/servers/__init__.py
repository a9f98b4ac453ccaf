"""The package `server`: a folder with a FastAPI app that runs without onnxbuild."""
