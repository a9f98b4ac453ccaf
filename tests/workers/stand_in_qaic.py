"""A stand-in for `qaic-compile`: it compiles nothing, and refuses whatever the real compiler could not read.

It is copied to a folder of the PATH. `mode` beside it says what goes wrong; `calls` gets one line per start.
"""

import hashlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

_KNOWN = re.compile(
    r"-(m|aic-hw|aic-hw-version|compile-only|retained-state|convert-to-fp16|mxfp6-matmul|aic-num-cores|mos"
    r"|mdp-load-partition-config|network-specialization-config|custom-IO-list-file|aic-binary-dir)(=.+)?"
)
_CUSTOM_IO = re.compile(r"( - IOName: past_(key|value)\.\d+(_RetainedState)?\n   Precision: (float16|mxint8)\n\n)+")


def main() -> int:
    here = Path(__file__).parent
    mode = (here / "mode").read_text() if (here / "mode").exists() else ""
    with (here / "calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    if mode == "fail":
        print("Error: unsupported operator Foo", file=sys.stderr)
        return 7
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "slow":
        time.sleep(600)
    if mode == "nothing":
        return 0
    options = dict(part[1:].partition("=")[::2] for part in sys.argv[1:])
    faults = [part for part in sys.argv[1:] if not _KNOWN.fullmatch(part)] + list(_faults(options))
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 2
    target = Path(options["aic-binary-dir"])
    target.mkdir()  # the real compiler refuses a folder that exists
    graph = Path(options["m"]).read_bytes()
    (target / "programqpc.bin").write_bytes(b"STAND-IN " + hashlib.sha256(graph).hexdigest().encode())
    print("stand-in: nothing was compiled")
    return 0


def _faults(options: dict[str, str]) -> list[str]:
    rows = json.loads(Path(options["network-specialization-config"]).read_text())["specializations"]
    faults = [
        f"specialization {row}"
        for row in rows
        if set(row) != {"name", "symbols"} or not all(value.isdecimal() for value in row["symbols"].values())
    ]
    if len({row["name"] for row in rows}) < len(rows):
        faults.append("two specializations of one name")
    if "custom-IO-list-file" in options and not _CUSTOM_IO.fullmatch(Path(options["custom-IO-list-file"]).read_text()):
        faults.append("custom_io.yaml")
    if "mdp-load-partition-config" in options:
        parts = json.loads(Path(options["mdp-load-partition-config"]).read_text())
        cores = {one["numCores"] for one in parts["partitions"][0]["devices"]}
        if cores != {int(options["aic-num-cores"])}:
            faults.append("partitions with other cores")
    return faults


if __name__ == "__main__":
    sys.exit(main())
