"""`onnxbuild doctor`: what this machine can do, and what is missing for which step."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import msgspec
from msgspec import Struct

from onnxbuild import __version__
from onnxbuild.machine import Machine, this_machine

# What each step kind imports, by distribution; the `optimum` extra brings all of it.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "fetch": ("transformers", "torch", "tokenizers", "huggingface_hub"),
    "export": ("optimum", "optimum-onnx", "transformers", "torch", "onnx"),
    "optimize": ("transformers", "onnx", "onnxruntime"),
    "quantize": ("onnx", "onnxruntime", "onnx-ir"),
    "precision": ("onnx", "onnxruntime", "transformers"),
    "validate": ("optimum", "optimum-onnx", "transformers", "torch", "onnxruntime"),
    "benchmark": ("optimum", "optimum-onnx", "transformers", "torch", "onnxruntime"),
    "generate": ("optimum", "optimum-onnx", "transformers", "torch", "onnxruntime"),
}
_ALSO_SHOWN = ("sentence-transformers", "safetensors", "numpy")
_EXTRA = 'pip install "onnxbuild[optimum]"'
_PROVIDERS_SECONDS = 60
_ASK_PROVIDERS = (
    "import json, sys, onnxruntime; json.dump({'providers': onnxruntime.get_available_providers()}, sys.stdout)"
)

Version = Callable[[str], str | None]


class Report(Struct, frozen=True, kw_only=True):
    """What was found. `missing`: step kind → distributions that it needs and that are not installed."""

    onnxbuild: str
    python: str
    system: str
    machine: Machine
    int8_preset: str
    memory_bytes: int | None
    store: str
    store_free_bytes: int | None
    packages: Mapping[str, str | None]
    providers: tuple[str, ...]
    provider_problem: str | None
    hub_offline: bool
    hub_endpoint: str
    missing: Mapping[str, tuple[str, ...]]
    repair: str | None

    @property
    def exit_code(self) -> int:
        """0, or 1 where some step cannot run here."""
        return 1 if self.missing or self.provider_problem else 0


def doctor(
    store: Path,
    *,
    version: Version | None = None,
    machine: Machine | None = None,
    environ: Mapping[str, str] = os.environ,
    ask: tuple[str, ...] = (sys.executable, "-c", _ASK_PROVIDERS),
) -> Report:
    """Look at the machine; imports no framework, and asks ONNX Runtime in a process of its own."""
    version = version or installed
    machine = machine or this_machine()
    names = dict.fromkeys([*(name for needs in NEEDS.values() for name in needs), *_ALSO_SHOWN])
    packages = {name: version(name) for name in names}
    missing = {kind: gone for kind, needs in NEEDS.items() if (gone := tuple(n for n in needs if packages[n] is None))}
    providers, problem = _providers(ask) if packages["onnxruntime"] else ((), None)
    return Report(
        onnxbuild=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        machine=machine,
        int8_preset=machine.int8_preset,
        memory_bytes=_memory_bytes(),
        store=str(store),
        store_free_bytes=_free_bytes(store),
        packages=packages,
        providers=providers,
        provider_problem=problem,
        hub_offline=environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"},
        hub_endpoint=environ.get("HF_ENDPOINT") or "https://huggingface.co",
        missing=missing,
        repair=_EXTRA if missing else None,
    )


def run_doctor(*, format: str, store: str | None = None) -> int:  # noqa: A002 - the option's name
    """Print what was found; the exit code."""
    named = store or os.environ.get("ONNXBUILD_STORE") or ".onnxbuild/store"
    report = doctor(Path(named).absolute())
    print(as_json(report) if format == "json" else as_text(report))
    return report.exit_code


def as_json(report: Report) -> str:
    """The report as one JSON object."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def as_text(report: Report) -> str:
    """The report for a person."""
    machine = report.machine
    lines = [
        ("onnxbuild", report.onnxbuild),
        ("python", f"{report.python} on {report.system}"),
        ("cpu", f"{machine.cpu}, {machine.architecture}, {machine.cores} cores"),
        ("cpu flags", ", ".join(machine.flags) or "none that matter"),
        ("int8 preset", report.int8_preset),
        ("memory", _gigabytes(report.memory_bytes)),
        ("store", f"{report.store} ({_gigabytes(report.store_free_bytes)} free)"),
        ("model hub", f"{report.hub_endpoint}{', offline (HF_HUB_OFFLINE)' if report.hub_offline else ''}"),
        ("providers", report.provider_problem or ", ".join(report.providers) or "none: onnxruntime is not installed"),
        *((name, version or "not installed") for name, version in report.packages.items()),
    ]
    width = max(len(label) for label, _ in lines)
    text = [f"{label:<{width}}  {value}" for label, value in lines]
    return "\n".join([*text, "", *_verdict(report)])


def installed(name: str) -> str | None:
    """The version of a distribution as installed, or None; reads metadata and imports nothing of it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _verdict(report: Report) -> list[str]:
    if not report.missing:
        problem = report.provider_problem
        return [f"onnxruntime does not start: {problem}"] if problem else ["every step can run here"]
    lines = [f"{kind} cannot run: {', '.join(gone)} not installed" for kind, gone in report.missing.items()]
    return [*lines, f"  = hint: {report.repair}"]


def _providers(ask: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    """What ONNX Runtime offers, or why it could not be asked: a broken build of it crashes when it is imported."""
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=_PROVIDERS_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return (), f"no answer within {_PROVIDERS_SECONDS} s"
    except OSError as error:
        return (), f"the interpreter does not start: {error}"
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with code {done.returncode}"]
        return (), last[0]
    try:
        return tuple(msgspec.json.decode(done.stdout)["providers"]), None
    except (msgspec.DecodeError, KeyError):
        return (), "its answer cannot be read"


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _free_bytes(store: Path) -> int | None:
    """Free space where the store is, or will be: of its nearest parent that exists."""
    for folder in (store, *store.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _gigabytes(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e9:.1f} GB"
