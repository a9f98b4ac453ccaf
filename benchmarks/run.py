"""`python benchmarks/run.py [NAME…]`: measure side by side, and print each value with its bound."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import peers
from cases import BENCHMARKS, Bench
from table import Line, as_json, as_text


def main() -> int:
    """Run the chosen benchmarks. The exit code is 1 if a bound is missed."""
    options = arguments()
    chosen = options.names or list(BENCHMARKS)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="onnxbuild-benchmarks-", dir=options.folder) as folder:
        bench = Bench(
            python=options.python,
            peers=peers.install(options.peers),
            folder=Path(folder),
            repeats=options.repeats,
            large_bytes=round(options.large_gb * 10**9),
            scale=options.scale,
        )
        for name in chosen:
            print(f"{name}: {(BENCHMARKS[name].__doc__ or '').strip()}", file=sys.stderr)
            lines += BENCHMARKS[name](bench)
    print(as_text(lines))
    if options.json:
        report = {"machine": machine(), "lines": [as_json(line) for line in lines]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if any(line.verdict == "MISS" for line in lines) else 0


def machine() -> dict[str, object]:
    """What the figures depend on. `load`: the averages at the end of the run."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare onnxbuild with DVC, doit and ninja.", allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--peers", type=Path, default=peers.DEFAULT, metavar="DIR", help="their virtual environment")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs onnxbuild")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where worlds are made (default: a temporary folder)"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="minimum number of interleaved rounds")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: fewer actions, for a quick look")
    parser.add_argument("--large-gb", type=float, default=10.0, help="size of the large model's weights")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: expected {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
