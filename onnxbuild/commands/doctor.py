"""`onnxbuild doctor`: what this machine can do, and what is missing for which step."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from onnxbuild.confinement import confine
from onnxbuild.machine import Machine, this_machine
from onnxbuild.needs.step_needs import Version, absence, first_absent
from onnxbuild.planning.interpreters.unseen import unseen
from onnxbuild.protocol import json_text
from onnxbuild.report.wording import folded
from onnxbuild.runners.worker_environment import import_folders
from onnxbuild.steps import KINDS, Kinds, all_kinds
from onnxbuild.steps.compiling.backend_kind import HOST_DOUBLE
from onnxbuild.steps.compiling.backends import backend_named
from onnxbuild.steps.kind import Kind, all_needs
from onnxbuild.steps.packaging.package_kind import CLIENT
from onnxbuild.version import __version__

# Params of each kind's usual case, where a param has no default or determines the packages.
_USUAL: Mapping[str, Any] = {
    "origin": "random", "exporter": "optimum", "level": "O2", "method": "dynamic", "dtype": "fp16", "prompts": (),
}  # fmt: skip
# Optional: a step without them does less, but it runs.
_OPTIONAL = ("sentence-transformers",)
_OF_DEVELOPERS = ("test", "dev", "docs", "fuzz", "mutants")  # extras for work on onnxbuild itself
_EXTRA_NAME = re.compile(r'extra == "([^"]+)"')
_ALSO_SHOWN = ("safetensors", "numpy")
_EXTRA = 'pip install "onnxbuild[optimum]"'
_PROVIDERS_SECONDS = 60
_ASK_PROVIDERS = (
    "import json, sys, onnxruntime; json.dump({'providers': onnxruntime.get_available_providers()}, sys.stdout)"
)


class Report(Struct, frozen=True, kw_only=True):
    """What this machine has.

    `missing`: step kind → distributions that it needs and that are not installed. `confinement`: what confines
    somebody else's code, in words. `python_path`: which workers import from the folders of PYTHONPATH; "" if not set.
    `unseen`: what can change results and is in no key. `backends`: what each can do here, in words.
    `extras`: extra of onnxbuild → distributions that it installs; `packages` has their versions.
    """

    onnxbuild: str
    python: str
    system: str
    machine: Machine
    int8_preset: str
    memory_bytes: int | None
    store: str
    store_free_bytes: int | None
    packages: Mapping[str, str | None]
    extras: Mapping[str, tuple[str, ...]]
    providers: tuple[str, ...]
    provider_problem: str | None
    hub_offline: bool
    hub_endpoint: str
    confinement: str
    python_path: str
    unseen: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]
    backends: Mapping[str, str]
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
    ask: tuple[str, ...] = (sys.executable, "-P", "-c", _ASK_PROVIDERS),
    python: str = sys.executable,
) -> Report:
    """Look at the machine; imports no framework, and asks ONNX Runtime in a separate process."""
    version = version or installed
    machine = machine or this_machine()
    needs = needs_of(KINDS)
    extras = extras_of(metadata.requires("onnxbuild") or [])
    names = dict.fromkeys([*_usual_names(needs), *(name for listed in extras.values() for name in listed)])
    packages = {name: version(name) for name in names}
    missing = {kind: tuple(name for name in needed if packages[name] is None) for kind, needed in needs.items()}
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
        extras=extras,
        providers=providers,
        provider_problem=problem,
        hub_offline=environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"},
        hub_endpoint=environ.get("HF_ENDPOINT") or "https://huggingface.co",
        confinement=_confinement(environ),
        python_path=_python_path(environ),
        unseen=unseen(python, environ),
        missing={kind: absent for kind, absent in missing.items() if absent},
        backends=backends_of(all_kinds(), version),
        repair=_EXTRA if any(missing.values()) else None,
    )


def needs_of(kinds: Kinds) -> Mapping[str, tuple[str, ...]]:
    """The distributions without which a step kind does not run, as the kind declares them for its usual params.

    A check without the client of its package is skipped: it needs none.
    """
    return {
        name: () if name.startswith(CLIENT) else tuple(one for one in declared_packages(kind) if one not in _OPTIONAL)
        for name, kind in kinds.items()
    }


def extras_of(requirements: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The distributions that each extra installs here, by the requirements of onnxbuild in its metadata."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    read = [one for one in map(Requirement, requirements) if one.name != "onnxbuild" and one.marker is not None]
    always = {one.name for one in read if one.marker is not None and one.marker.evaluate({"extra": ""})}
    names = dict.fromkeys(extra for one in read for extra in _EXTRA_NAME.findall(str(one.marker)))
    return {
        extra: tuple(
            dict.fromkeys(
                canonicalize_name(one.name)
                for one in read
                if one.name not in always and one.marker is not None and one.marker.evaluate({"extra": extra})
            )
        )
        for extra in names
        if extra not in _OF_DEVELOPERS
    }


def backends_of(kinds: Kinds, version: Version) -> Mapping[str, str]:
    """What a target that is compiled for each backend gets here: where a compiler is absent, it is only prepared."""
    return {kind.backend: _ability(kind, version) for kind in kinds.values() if kind.backend}


def _ability(kind: Kind, version: Version) -> str:
    try:
        params = kind.params()
    except TypeError:  # a plugin's params without defaults
        return "what it needs depends on its params, which `onnxbuild lint` looks at"
    return "; ".join([_ability_of(kind, params, version), *_without(kind, version)])


def _without(kind: Kind, version: Version) -> Iterator[str]:
    """The settings of a backend whose distribution is absent."""
    backend = backend_named(kind.backend)
    further = {} if backend is None else backend.optional
    for name in dict.fromkeys(further.values()):
        if version(name) is None:
            settings = [f"`{setting}`" for setting, needed in further.items() if needed == name]
            verb = "needs" if len(settings) == 1 else "need"
            yield f"{' and '.join(settings)} {verb} `{name}`, which is not here"


def _ability_of(kind: Kind, params: Any, version: Version) -> str:
    runtime = kind.runtime(params, None)  # type: ignore[arg-type] # that of a backend asks for no context
    absent = _lacking(kind.compiler(params), version)
    backend = backend_named(kind.backend)
    has_double = backend is not None and backend.verified_on == HOST_DOUBLE
    if absent is not None:
        rest = "nothing is compiled; a host double runs the graph" if has_double else "nothing is compiled or run"
        return f"prepares: {absent}, so {rest}"
    lacking = None if runtime is UNSET else _lacking(all_needs(runtime), version)
    unused = None if runtime is UNSET or runtime.uses is UNSET else _lacking(runtime.uses, version)
    if has_double and unused is not None:
        return f"compiles; {unused}, so a host double runs the graph, and no device does"
    if lacking is not None:
        return f"compiles; {lacking}, so validation and benchmark are skipped"
    return "compiles and runs"


def _lacking(needs: tuple[str, ...], version: Version) -> str | None:
    """What is absent, in words."""
    absent = first_absent(needs, version)
    return None if absent is None else absence(absent)


def declared_packages(kind: Kind) -> tuple[str, ...]:
    """What a kind declares for its usual params."""
    fields = {field.encode_name for field in msgspec.structs.fields(kind.params)}
    return tuple(kind.packages(kind.params(**{name: value for name, value in _USUAL.items() if name in fields})))


def as_json(report: Report) -> str:
    """The report as one JSON object."""
    return json_text(report, indent=2)


def as_text(report: Report, columns: int | None = None) -> str:
    """The report for a person, in lines of at most `columns` cells."""
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
        ("confinement", report.confinement),
        *((("pythonpath", report.python_path),) if report.python_path else ()),
        ("providers", report.provider_problem or ", ".join(report.providers) or "none: onnxruntime is not installed"),
        *((name, report.packages[name] or "not installed") for name in _usual_names(needs_of(KINDS))),
        *((f"extra {extra}", _versions(names, report)) for extra, names in report.extras.items()),
        *((f"compile {name}", words) for name, words in report.backends.items()),
    ]
    width = max(len(label) for label, _ in lines)
    text = [folded(f"{label:<{width}}  {value}", columns, hang=width + 2) for label, value in lines]
    hidden = ["", "in no key:", *(f"  {line}" for line in report.unseen)] if report.unseen else []
    return "\n".join([*text, folded("\n".join([*hidden, "", *_verdict(report)]), columns)])


def _usual_names(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What the steps run with; these distributions have lines of their own."""
    return list(dict.fromkeys([*(name for needed in needs.values() for name in needed), *_OPTIONAL, *_ALSO_SHOWN]))


def _versions(names: Iterable[str], report: Report) -> str:
    return ", ".join(f"{name} {report.packages[name] or 'not installed'}" for name in names)


def _confinement(environ: Mapping[str, str]) -> str:
    """The confinement of custom exporters, the code of checkpoints, and plugins that are not pure."""
    if confine.wanted(environ) == "off":
        return f"switched off by {confine.SWITCH}"
    return confine.available() or "none: this system has no Landlock, so somebody else's code can reach all your files"


def _python_path(environ: Mapping[str, str]) -> str:
    if not environ.get("PYTHONPATH"):
        return ""
    folders = ", ".join(import_folders(sys.executable, environ)) or "no absolute folder"
    return f"{folders} (workers of this interpreter import from absolute folders in it, those of toolchains from none)"


def installed(name: str) -> str | None:
    """The version of an installed distribution, or None; reads its metadata and imports nothing."""
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
    """The providers of ONNX Runtime, or why it did not answer: a broken build of it crashes when it is imported."""
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
