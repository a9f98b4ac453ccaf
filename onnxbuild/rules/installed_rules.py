"""The rule that looks at what is installed: a core-only installation lints and plans, and cannot build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.planning.action_graph import CURRENT, Action
from onnxbuild.rules.rule import Rule, World, rule
from onnxbuild.steps import KINDS
from onnxbuild.steps.kind import EVERYTHING
from onnxbuild.steps.packaging.package_kind import CLIENT

# Part of a key if it is installed, and needed only by checkpoints that were made with it, or for further metrics.
_OF_METRICS = ("scipy", "scikit-learn", "seqeval", "sacrebleu", "rouge-score")
_OPTIONAL = frozenset({"sentence-transformers", EVERYTHING, *_OF_METRICS})
# The extra of pyproject.toml that installs what an exporter needs.
_EXTRAS = {
    "mobius-onnx": "mobius",
    "onnxscript": "transformers",
    "onnxruntime-genai": "genai",
}
# Those that are installed beside any of the others.
_BESIDE = {
    "peft": "adapters",
    "timm": "timm",
    "torchvision": "timm",
    "oras": "oci",
    "s3fs": "remote",
    **dict.fromkeys(("fastapi", "uvicorn", "jinja2"), "serve"),
}
_SHOWN = 4
# What no extra installs, and where it comes from.
_NOT_ON_PYPI: Mapping[str, str] = {
    "QEfficient": "`QEfficient` is not on PyPI: install it from its repository, into the interpreter of a `toolchain:`"
}


@rule("OB340", "worker-packages-missing", severity="warning")
def worker_packages_missing(world: World) -> Iterator[Diagnostic]:
    """Packages that the steps of a model import are not installed, and the model names no toolchain.

    Why: linting and planning need only onnxbuild itself; the run would fail when its first worker starts.
    Fix: install the extra that the hint names, or give the model a `toolchain:`.
    """
    missing = [name for name in _needed(world) if world.installed(name) is None]
    if not missing:
        return
    model = next((one for one in world.manifest.models if one.toolchain is None), None)
    shown = ", ".join(f"`{name}`" for name in missing[:_SHOWN])
    others = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    yield fault(
        "OB340",
        f"not installed in this environment: {shown}{others}",
        span=model.span if model else None,
        hint=_hint(missing),
        severity="warning",
    )


def _needed(world: World) -> list[str]:
    """The distributions that actions in this interpreter import, each once, in the order of the actions."""
    actions = [one for one in world.expansion.graph.actions.values() if one.toolchain == CURRENT and one.kind in KINDS]
    # A thousand models have the params of a few targets: only actions that differ are asked, 20 ms instead of 67.
    unlike = {(one.kind, msgspec.json.encode(one.params)): one for one in actions}
    names = dict.fromkeys(name for one in unlike.values() for name in _packages(one))
    return [name for name in names if name not in _OPTIONAL]


def _packages(action: Action) -> tuple[str, ...]:
    kind = KINDS[action.kind]
    if kind.name.startswith(CLIENT):  # without its client, a package is built and not checked
        return ()
    return kind.packages(msgspec.convert(action.params, kind.params))  # without the compiler and the runtime


def _hint(missing: list[str]) -> str:
    elsewhere = [_NOT_ON_PYPI[name] for name in missing if name in _NOT_ON_PYPI]
    others = [name for name in missing if name not in _NOT_ON_PYPI]
    extra = [f"`pip install {_requirement(others)}` installs what a run needs"] if others else []
    return ". ".join([*extra, *elsewhere])


def _requirement(missing: list[str]) -> str:
    beside = dict.fromkeys(_BESIDE[name] for name in missing if name in _BESIDE)
    extras = [next((extra for name, extra in _EXTRAS.items() if name in missing), "optimum")]
    extra = ",".join([*(extras if set(missing) - _BESIDE.keys() else ()), *beside])
    clone = Path(__file__).parents[2]
    return f"'.[{extra}]'" if (clone / "pyproject.toml").is_file() else f"'onnxbuild[{extra}]'"


RULES: tuple[Rule, ...] = (worker_packages_missing,)
