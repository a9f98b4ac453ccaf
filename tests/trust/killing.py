"""Builds that are killed at random moments, and what must hold after each kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

from plugin.world import World

KILLS = 7  # of one build, before it may end


def diamond(seed: str) -> dict[str, list[dict]]:
    """Four targets, eleven actions: a shared first step, then chains."""
    first = {"text": f"{seed} first ", "seconds": 0.04}
    return {
        "a": [first, {"text": "a1 ", "seconds": 0.06}, {"text": "a2 ", "seconds": 0.04}],
        "b": [first, {"text": "b1 ", "seconds": 0.05}, {"text": "b2 ", "seconds": 0.05}, {"text": "b3 "}],
        "c": [{"text": f"{seed} c1 ", "seconds": 0.08}, {"text": "c2 ", "seconds": 0.03}],
        "d": [first, {"text": "a1 ", "seconds": 0.06}, {"text": "d2 "}],
    }


def expected(steps: dict[str, list[dict]]) -> dict[str, bytes]:
    """The output of a clean build."""
    return {target: b"model " * 2000 + "".join(s["text"] for s in of).encode() for target, of in steps.items()}


def nothing_is_partial(world: World) -> None:
    assert world.damaged_blobs() == []
    assert world.torn_folders() == []


def killed_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a build after some time; returns whether it had not ended before."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def build_killed(root: Path, seed: int) -> int:
    """Build once clean to learn how long it takes, edit, and build again with kills all over that time."""
    dice = random.Random(seed)
    world = World(root)
    worlds = [diamond(f"{seed} {generation} ") for generation in range(KILLS + 1)]
    world.manifest(worlds[0])
    began = time.monotonic()
    assert world.run("--json", "-j", "3").code == 0
    life = time.monotonic() - began
    kills, now = 0, 1
    world.manifest(worlds[now])
    while kills < KILLS:
        process = world.start("--json", "-j", "3")
        began = time.monotonic()
        killed = killed_after(process, dice.uniform(0.02, life))
        nothing_is_partial(world)
        seen = world.delivered()
        # The last good output stays until its successor is whole.
        assert set(seen) == set(worlds[0])
        for target, data in seen.items():
            assert data in {expected(one)[target] for one in worlds[: now + 1]}
        if not killed:  # it finished: nothing is stale. Then edit, so that there is something to kill
            assert process.returncode == 0
            life = time.monotonic() - began  # the machine may be faster or slower than it was
            assert seen == expected(worlds[now])
            now = min(now + 1, KILLS)
            world.manifest(worlds[now])
        kills += killed
    assert world.wait_for_silence() == []
    ended = world.run("--json", "-j", "3")
    assert ended.code == 0, ended
    assert set(ended.outcomes().values()) <= {"hit", "built", "unchanged"}
    assert world.delivered() == expected(worlds[now])
    nothing_is_partial(world)
    assert world.left_behind() == []
    again = world.run("--json")
    assert set(again.outcomes().values()) == {"hit"}
    return kills
