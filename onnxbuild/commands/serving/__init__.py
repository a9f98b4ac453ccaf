"""`onnxbuild serve`: what is served, and how the server is started."""
