"""What the live view costs while four actions run: CPU time of its process, as a share of one core.

`python benchmarks/live_view.py [--seconds 25]`. The view draws on a pseudo-terminal, with two progress events per
second and action. Exit code 1: the bound was missed.
"""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from onnxbuild.execute.events import ActionProgress, ActionStarted, RunStarted
from onnxbuild.report.progress.live import LiveView

BOUND = 0.005  # of one core: benchmarks run at the same time as the view
ACTIONS = tuple(f"minilm/target-{number}:benchmark" for number in range(4))
_EVENTS_SECONDS = 0.5


def cpu_seconds(seconds: float, *, watched: bool) -> float:
    """CPU time of this process while four actions run for `seconds`, with or without the view."""
    reading, writing = pty.openpty()
    drain = subprocess.Popen(["cat"], stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with os.fdopen(writing, "w", encoding="utf-8") as terminal:
        view = LiveView(terminal, colour=True, size=lambda: (100, 30))
        if watched:
            view.event(RunStarted(actions=ACTIONS, jobs=4))
        before, until = time.process_time(), time.monotonic() + seconds
        for action in ACTIONS if watched else ():
            view.event(ActionStarted(id=action, kind="benchmark"))
        step = 0
        while time.monotonic() < until:
            step += 1
            events = [ActionProgress(id=one, text=f"round {step}", done=step, total=80) for one in ACTIONS]
            for event in events if watched else ():
                view.event(event)
            time.sleep(_EVENTS_SECONDS)
        spent = time.process_time() - before
        view.close()
    os.close(reading)
    drain.terminate()
    drain.wait()
    return spent


def main() -> int:
    """Measure, print, and compare with the bound."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=25.0, help="how long the actions run")
    seconds = parser.parse_args().seconds
    cpu_seconds(1.0, watched=True)  # imports and caches
    unseen = cpu_seconds(seconds, watched=False)
    watched = cpu_seconds(seconds, watched=True)
    share = (watched - unseen) / seconds
    print(f"live view: {share:.3%} of a core ({watched:.3f} s of CPU in {seconds:.0f} s; {unseen:.3f} s without it)")
    print(f"bound: {BOUND:.1%}, {'held' if share <= BOUND else 'MISSED'}")
    return 0 if share <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
