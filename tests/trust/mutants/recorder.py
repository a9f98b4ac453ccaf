"""Record which functions of onnxbuild a process calls: one line per function in a log that all processes share.

A copy of the working tree starts this in every process that runs its code. The file runs by its path, also where no
module can be imported.
"""

import contextlib
import sys
import threading


def record(package, log):
    """Append a line for every function below the folder `package` that is called for the first time from now on."""
    seen = {}

    def called(frame, _event, _argument):
        code = frame.f_code
        if id(code) not in seen:
            seen[id(code)] = code  # alive, so that no other code gets its id
            if code.co_filename.startswith(package):
                _append(log, f"{code.co_filename[len(package) :]}:{code.co_firstlineno}:{code.co_name}\n")

    # A tracer that returns None is asked for each call only. A profiler is asked for every call of C as well.
    threading.settrace(called)
    sys.settrace(called)


def _append(log, line):
    # A confined worker must not write here.
    with contextlib.suppress(OSError), open(log, "ab", buffering=0) as file:
        file.write(line.encode())


def stop():
    """Record no more, in this thread and in those that it will start."""
    sys.settrace(None)
    threading.settrace(None)
