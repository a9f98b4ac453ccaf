"""The entry point: lets `python -m onnxbuild` and the installed `onnxbuild` run the command line."""

import contextlib
import os
import sys

try:
    import _signal as signal  # type: ignore[import-not-found]  # as in `cli`
except ImportError:  # another Python than CPython
    import signal

# `-m` begins the path with the working folder, which is often a checkout of somebody else: a `yaml.py` there would run.
with contextlib.suppress(OSError):  # the working folder has been removed
    if not sys.flags.safe_path and sys.path[0] == os.getcwd():
        del sys.path[0]


def _exit_at_once(_number: int, _frame: object) -> None:
    os._exit(130)


# While the command line is imported; then it has its own handlers.
for _name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
    _number = getattr(signal, _name, None)
    if _number is not None and signal.getsignal(_number) != signal.SIG_IGN:
        signal.signal(_number, _exit_at_once)

from onnxbuild.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
