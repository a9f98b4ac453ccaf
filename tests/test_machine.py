from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from onnxbuild import machine
from onnxbuild.digest import digest_value
from onnxbuild.machine import Machine, nvidia_gpus, peak_resident_bytes, physical_cores

CPU = {"cpu": "a", "architecture": "x86_64", "flags": ["avx2"], "cores": 2}


def test_gpus_are_read_from_the_drivers_files(tmp_path: Path) -> None:
    for place, model in (("0000:02:00.0", "NVIDIA L4"), ("0000:01:00.0", "NVIDIA H100 80GB HBM3")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 16\nGPU UUID: \t GPU-1\n")
    assert nvidia_gpus(str(tmp_path)) == ("NVIDIA H100 80GB HBM3", "NVIDIA L4")


def test_there_are_none_without_a_driver(tmp_path: Path) -> None:
    assert nvidia_gpus(str(tmp_path / "absent")) == ()


def test_another_gpu_is_another_machine_and_none_changes_no_key() -> None:
    none, one, other = (msgspec.convert({**CPU, "gpus": gpus}, Machine) for gpus in ([], ["L4"], ["H100"]))
    assert len({digest_value(machine) for machine in (none, one, other)}) == 3
    assert digest_value(none) == digest_value(CPU)


@pytest.mark.skipif(machine._peak_of_program() is None, reason="only Linux says it of the program alone")
def test_the_peak_is_that_of_the_program_and_not_of_the_one_that_started_it() -> None:
    held = b"x" * 300_000_000
    script = "from onnxbuild.machine import peak_resident_bytes\nprint(peak_resident_bytes())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < len(held) < peak_resident_bytes()


def siblings(folder: Path, *lists: str) -> str:
    """A folder as /sys/devices/system/cpu, with the siblings of each core."""
    for number, text in enumerate(lists):
        (folder / f"cpu{number}" / "topology").mkdir(parents=True)
        (folder / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(f"{text}\n")
    return str(folder)


@pytest.mark.skipif(not hasattr(machine.os, "sched_getaffinity"), reason="only Linux says which cores are physical")
def test_cores_that_share_one_count_once_among_those_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpus = siblings(tmp_path / "four", "0,2", "1,3", "0,2", "1,3")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    assert physical_cores(cpus) == 2
    physical_cores.cache_clear()
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _pid: {0, 2})
    assert physical_cores(cpus) == 1
    assert physical_cores(str(tmp_path / "absent")) is None
    physical_cores.cache_clear()
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    assert physical_cores(cpus) is None
    physical_cores.cache_clear()
