"""Whether a device is there, where the program or the file of its driver is.

The tools of a card are also installed on build servers without a card, and a driver makes its files without a GPU. So
the tool of a card is asked for cards, and the files of GPUs are counted. What cannot be found out counts as there: the
engine then fails with the words of its driver.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from onnxbuild.passed_variables import SYSTEM, chosen

if TYPE_CHECKING:
    import subprocess

# A program of the platform SDK of Qualcomm Cloud AI 100.
CARD_TOOL = "qaic-util"
CARD_FILES = "/dev/accel"  # the kernel makes a file in it for each card that has started
ANSWER_SECONDS = 30.0

_READY = "ready"
_KFD_NODES = "/sys/class/kfd/kfd/topology/nodes"
_RENDERS = "/dev/dri"
_NUMBER = re.compile(r"QID\s+(\d+)")
_STATUS = re.compile(r"Status:\s*(\S.*)")


def device_problem(name: str) -> str | None:
    """Why a device, or the one behind a program or file, cannot be used, in words; None if it can, or none is meant."""
    look = _LOOKS.get(name)
    return None if look is None else look()


def device_places(name: str) -> tuple[str, ...]:
    """The files that change when a device comes or goes."""
    return _PLACES.get(name, ())


def card_states(text: str) -> Mapping[str, str]:
    """The state of each card by its number: of `QID 0` and, below it, `Status:Ready`, as `qaic-util -q` prints them.

    The form is the same in all SDKs. Some print versions and the number of cards before the first one.
    """
    states: dict[str, str] = {}
    number = "0"
    for line in map(str.strip, text.splitlines()):
        if match := _NUMBER.fullmatch(line):
            number = match[1]
        elif match := _STATUS.fullmatch(line):
            states.setdefault(number, match[1].strip())
    return states


def _without_card() -> str | None:
    place = shutil.which(CARD_TOOL)
    if place is None:
        return f"`{CARD_TOOL}` is not here"
    status = os.stat(place)
    return _asked(os.path.abspath(place), status.st_size, status.st_mtime_ns)


@functools.cache
def _asked(tool: str, _size: int, _changed: int) -> str | None:
    """What a tool says that keeps a card from running programs. A process asks each tool once."""
    import subprocess

    try:
        process = subprocess.Popen(
            [tool, "-q"],
            env=chosen(os.environ, SYSTEM),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return f"`{CARD_TOOL}` does not start: {error.strerror}"
    try:
        text, _ = process.communicate(timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"`{CARD_TOOL} -q` gave no answer within {ANSWER_SECONDS:g} seconds"
    if process.returncode != 0:
        return f"`{CARD_TOOL} -q` ended with code {process.returncode}{_last_line(text)}"
    return _not_ready(card_states(text))


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a process, and do not wait for it: a driver that hangs may keep it for ever."""
    import subprocess

    process.kill()
    assert process.stdout is not None
    process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)


def _not_ready(states: Mapping[str, str]) -> str | None:
    if any(state.lower() == _READY for state in states.values()):
        return None
    if not states:
        return f"`{CARD_TOOL} -q` finds no card"
    listed = ", ".join(f"{number}: {state}" for number, state in states.items())
    return f"`{CARD_TOOL} -q` finds no card that is ready ({listed})"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""


def _without_nvidia() -> str | None:
    """A container that is given no GPU may have the file of the driver."""
    names = names_in("/dev")
    has_gpu = names is None or any(re.fullmatch(r"nvidia\d+", name) for name in names)
    return None if has_gpu else "the driver of NVIDIA is here, and no GPU: `/dev` has no `nvidia0`"


def _without_amd() -> str | None:
    """The driver lists the processors, too: they have the number 0."""
    nodes = names_in(_KFD_NODES)
    numbers = [_text(os.path.join(_KFD_NODES, node, "gpu_id")) for node in nodes or ()]
    has_gpu = not numbers or any(number is None or number.strip() != "0" for number in numbers)
    return None if has_gpu else "the driver of AMD is here, and no GPU that computes"


def _without_render() -> str | None:
    """The screen of a server has a file for pictures only."""
    names = names_in(_RENDERS)
    has_gpu = names is None or any(name.startswith("renderD") for name in names)
    return None if has_gpu else f"no GPU is here that computes: `{_RENDERS}` has no `renderD128`"


def _without_htp() -> str | None:
    """The driver of Qualcomm's processors has one of two names."""
    names = names_in("/dev")
    has_htp = names is None or any(name.startswith(("fastrpc-", "adsprpc-smd")) for name in names)
    return None if has_htp else "no HTP is here: `/dev` has no `fastrpc-cdsp`"


def names_in(folder: str) -> tuple[str, ...] | None:
    """The names in a folder of the system; None if it cannot be read."""
    try:
        return tuple(os.listdir(folder))
    except OSError:
        return None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read(64)
    except (OSError, ValueError):
        return None


_LOOKS: Mapping[str, Callable[[], str | None]] = {
    CARD_TOOL: _without_card,
    "/dev/nvidiactl": _without_nvidia,
    "/dev/kfd": _without_amd,
    _RENDERS: _without_render,
    "HTP": _without_htp,
}
_PLACES: Mapping[str, tuple[str, ...]] = {
    CARD_TOOL: (CARD_FILES,),
    "/dev/nvidiactl": ("/dev/nvidia0",),
    "HTP": ("/dev/fastrpc-cdsp", "/dev/adsprpc-smd"),
}
