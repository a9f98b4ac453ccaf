"""`python -m onnxbuild`."""

from onnxbuild.cli import main

main()
