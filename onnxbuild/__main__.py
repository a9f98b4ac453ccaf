"""Lets `python -m onnxbuild` run the command line."""

import contextlib
import os
import sys

# `-m` begins the path with the working folder, which is often a checkout of somebody else: a `yaml.py` there would run.
with contextlib.suppress(OSError):  # the working folder has been removed
    if not sys.flags.safe_path and sys.path[0] == os.getcwd():
        del sys.path[0]

from onnxbuild.cli import main

if __name__ == "__main__":
    main()
