"""A stand-in for `qaic-compile`: it compiles nothing, and refuses whatever the real compiler could not read.

It is copied to a folder of the PATH. `mode` beside it says what goes wrong; `calls` gets one line per start. As
`qaic-exec` it is the compiler of 1.21 or, with `2.0` in `hardware` beside it, of an earlier SDK.
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
    is_new = Path(sys.argv[0]).name == "qaic-compile"
    rows = json.loads(Path(options["network-specialization-config"]).read_text())["specializations"]
    faults = [f"specialization {row}" for row in rows if not (_is_named(row) if is_new else _is_flat(row))]
    if is_new and len({row["name"] for row in rows if "name" in row}) < len(rows):
        faults.append("two specializations of one name")
    if is_new == ("compile-only" in options):
        faults.append("-compile-only is an option of qaic-exec, which needs it")
    old = Path(__file__).with_name("hardware")
    known = {old.read_text()} if old.exists() else {"ai100", "ai200"}
    if options.get("aic-hw-version") not in known:
        faults.append(f"hardware {options.get('aic-hw-version')}")
    if "custom-IO-list-file" in options and not _CUSTOM_IO.fullmatch(Path(options["custom-IO-list-file"]).read_text()):
        faults.append("custom_io.yaml")
    if "mdp-load-partition-config" in options:
        parts = json.loads(Path(options["mdp-load-partition-config"]).read_text())
        cores = {one["numCores"] for one in parts["partitions"][0]["devices"]}
        if cores != {int(options["aic-num-cores"])}:
            faults.append("partitions with other cores")
    return faults


def _is_named(row: dict) -> bool:
    return set(row) == {"name", "symbols"} and _is_flat(row["symbols"])


def _is_flat(row: dict) -> bool:
    return all(isinstance(value, str) and value.isdecimal() for value in row.values())


if __name__ == "__main__":
    sys.exit(main())
