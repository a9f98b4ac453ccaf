"""Confines this process to the folders of one action, as far as the system can."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from onnxbuild.confinement import landlock, places, seccomp

SWITCH = "ONNXBUILD_CONFINE"  # of the user: `off`, or `require` to fail where the system cannot confine
# Variables that name a folder to write to.
_OF_SCRATCH = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR")
_NETWORK_ABI, _SIGNAL_ABI = 4, 6


def wanted(environ: Mapping[str, str]) -> str:
    """What the user wants: `off`, `require`, or `auto`. Any other word counts as `require`."""
    value = environ.get(SWITCH, "").lower() or "auto"
    return value if value in {"off", "auto"} else "require"


def confine(inputs: Iterable[str], outputs: Iterable[str], scratch: str, log: str, *, network: bool = False) -> str:
    """Give up everything but the action's own folders; returns what is in force, "" if nothing is.

    `network`: keep the network. The home becomes the scratch folder: libraries write caches there. Errors: OSError.
    """
    version = landlock.abi()
    if version == 0:
        return ""
    _take_home(scratch, network=network)
    landlock.restrict(_rules(inputs, outputs, scratch, log, network=network), network=network)
    if network:
        return f"Landlock {version}, with the network"
    return _described(version, seccomp=seccomp.restrict())


def available() -> str:
    """What would be in force for code that is confined, in words; "" if nothing."""
    version = landlock.abi()
    return _described(version, seccomp=seccomp.is_available()) if version else ""


def _described(version: int, *, seccomp: bool) -> str:
    parts = [f"Landlock {version}", *(["seccomp"] if seccomp else [])]
    lacks = [] if seccomp else ["UDP"]
    lacks += ["TCP"] if version < _NETWORK_ABI and not seccomp else []
    lacks += ["signals"] if version < _SIGNAL_ABI else []
    return " and ".join(parts) + (f", without {', '.join(lacks)}" if lacks else "")


def _rules(
    inputs: Iterable[str], outputs: Iterable[str], scratch: str, log: str, *, network: bool
) -> Iterator[tuple[str, int]]:
    yield from ((path, landlock.READ) for path in places.readable(os.environ))
    yield from ((path, landlock.READ) for path in (places.of_network(os.environ) if network else ()))
    yield from ((path, landlock.USE_DEVICE) for path in places.devices())
    yield from ((path, landlock.READ) for folder in inputs for path in (folder, *places.link_targets(folder)))
    yield from ((path, landlock.WRITE_WITHOUT_LINKS) for path in outputs)
    yield from ((path, landlock.WRITE) for path in (scratch, log, places.SHARED_MEMORY))


def _take_home(scratch: str, *, network: bool) -> None:
    """Make libraries keep their files in the scratch folder, and look for models only on a network that they have."""
    os.environ.update(dict.fromkeys(_OF_SCRATCH, scratch))
    if not network:
        os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("HF_HUB_CACHE", "HF_MODULES_CACHE", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        os.environ.pop(name, None)
