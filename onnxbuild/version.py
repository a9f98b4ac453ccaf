"""The version of onnxbuild, which pyproject.toml repeats."""

__version__ = "0.1.0"
