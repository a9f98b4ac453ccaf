"""The machine that measures: what a latency depends on, as a plain value for keys and presets."""

from __future__ import annotations

import functools
import os
import platform
import sys

from msgspec import Struct

# Flags that decide which kernels ONNX Runtime and PyTorch use; the other hundred do not belong in a key.
_KERNEL_FLAGS = (
    "avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "sve",
)  # fmt: skip


class Machine(Struct, frozen=True, omit_defaults=True):
    """What a measured result depends on. `cores`: those that this process may use; `gpus`: NVIDIA's, by model."""

    cpu: str
    architecture: str
    flags: tuple[str, ...]
    cores: int
    gpus: tuple[str, ...] = ()

    @property
    def int8_preset(self) -> str:
        """The preset of dynamic quantization that is fastest on this CPU."""
        if self.architecture in {"aarch64", "arm64"}:
            return "arm64"
        if "avx512_vnni" in self.flags:
            return "avx512_vnni"
        return "avx512" if "avx512f" in self.flags else "avx2"


def this_machine() -> Machine:
    """The machine that this process runs on. Only Linux has /proc/cpuinfo; elsewhere the flags are unknown."""
    name, flags = _processor(), frozenset[str]()
    for line in _cpuinfo():
        field, _, value = line.partition(":")
        if field.strip() == "model name":
            name = value.strip()
        elif field.strip() in {"flags", "Features"}:
            flags = frozenset(value.split())
        elif not line:
            break  # all processors are the same
    return Machine(
        cpu=name,
        architecture=platform.machine(),
        flags=tuple(flag for flag in _KERNEL_FLAGS if flag in flags),
        cores=usable_cores(),
        gpus=nvidia_gpus(),
    )


def _processor() -> str:
    """What `platform.processor` returns, without the process `uname -p` that it starts except on Windows.

    A plan starts no process. The names for macOS are those that `uname -p` prints, because keys contain them.
    """
    machine = platform.machine()
    if sys.platform == "win32":
        return platform.processor() or machine
    return {"arm64": "arm", "x86_64": "i386"}.get(machine, machine) if sys.platform == "darwin" else machine


def nvidia_gpus(driver: str = "/proc/driver/nvidia/gpus") -> tuple[str, ...]:
    """The models of the GPUs that NVIDIA's driver lists, in the order of their places; none without a driver.

    They are read from the driver's files, which only Linux has: nvidia-smi takes longer than a run with nothing to do.
    """
    models: list[str] = []
    try:
        for place in sorted(os.listdir(driver)):
            with open(f"{driver}/{place}/information", encoding="utf-8") as file:
                models += [line.partition(":")[2].strip() for line in file if line.startswith("Model:")]
    except OSError:
        return ()
    return tuple(models)


def usable_cores() -> int:
    """Cores that this process may run on (a container or `taskset` may give fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def physical_cores(cpus: str = "/sys/devices/system/cpu") -> int | None:
    """Physical cores among those that this process may run on; None where the system does not say it (only Linux does).

    Cores that share one by hyper-threading name the same siblings.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    siblings = set()
    try:
        for number in os.sched_getaffinity(0):
            with open(f"{cpus}/cpu{number}/topology/thread_siblings_list", encoding="ascii") as file:
                siblings.add(file.read().strip())
    except OSError:  # a container may hide it
        return None
    return len(siblings)


def available_memory() -> int | None:
    """Bytes of memory that programs can still use without swapping, on the machine and in the container."""
    limits = [limit for limit in (_available_on_machine(), _available_in_cgroup()) if limit is not None]
    return min(limits, default=None)


def peak_resident_bytes() -> int:
    """Peak resident memory of this process so far; 0 if the system does not report it (Windows)."""
    return _peak_of_program() or _peak_of_process()


def _peak_of_program() -> int | None:
    """The peak since the program was started: `getrusage` also counts the process that started it, before the exec."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def _peak_of_process() -> int:
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def _available_on_machine() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return _available_by_psutil()


def _available_by_psutil() -> int | None:
    """The available memory on systems other than Linux."""
    try:
        import psutil
    except ImportError:  # a worker in another environment
        return None
    return int(psutil.virtual_memory().available)


def _available_in_cgroup() -> int | None:
    """What the limit of a version 2 control group leaves, as a container sees it at the root of its own hierarchy."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = int(file.read())  # "max" means no limit, and is not a number
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            return max(0, limit - int(file.read()))
    except (OSError, ValueError):
        return None


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []


# How the loader of libraries says that memory ran out.
_LOADER_LACKS_MEMORY = ("cannot allocate memory", "failed to map segment", "cannot map zero-fill")


def shortage(error: BaseException) -> str | None:
    """What has run out, in words; None if the error says something else."""
    text = str(error).lower()
    is_of_loader = isinstance(error, ImportError) and any(one in text for one in _LOADER_LACKS_MEMORY)
    if isinstance(error, MemoryError) or is_of_loader:
        return "memory ran out"
    # Python has no other error for it: the system refused one more thread, by a limit or for lack of memory.
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return "the system allows no more threads, or has no memory for one"
    return None
