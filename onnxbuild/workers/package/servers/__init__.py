"""Packages for servers: a folder with a FastAPI app, and repositories for Triton and OpenVINO Model Server."""
