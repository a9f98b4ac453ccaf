"""Codes of compile targets, and the rule that looks at the compilers that are installed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.needs.step_needs import (
    FILE,
    LIBRARY,
    PROGRAM,
    Version,
    first_absent,
    is_of_machine,
    need_name,
    why_without_device,
)
from onnxbuild.planning.action_graph import CURRENT, Action
from onnxbuild.planning.known_versions import version_in
from onnxbuild.rules.rule import Rule, World, described, rule
from onnxbuild.steps import all_kinds


@rule("OB802", "compiler-missing", severity="warning")
def compiler_missing(world: World) -> Iterator[Diagnostic]:
    """The compiler of a target is not on this machine, or not in the toolchain of its model.

    Why: the target is then only prepared: everything that the compiler needs is written, with its command in
    `compile.sh`. Its validation and benchmark are skipped.
    Fix: install the compiler, or run the target where it is. What another machine has compiled is taken from a shared
    store.
    """
    kinds = all_kinds()
    for action in world.expansion.graph.actions.values():
        kind = kinds.get(action.kind)
        if kind is None or not kind.backend:
            continue
        names = kind.compiler(msgspec.convert(action.params, kind.params))
        absent = first_absent(names, _version(action, world))
        if absent is not None:
            yield _only_prepared(absent, action, has_script=not kind.is_plugin)


def _only_prepared(absent: str, action: Action, *, has_script: bool) -> Diagnostic:
    """OB802 for a need of a compiler that is missing, or is here without its device."""
    name, without_device = need_name(absent), why_without_device(absent)
    span, hint = action.span, _way_out(absent, name, action, has_script=has_script)
    if without_device is not None:
        return fault(
            "OB802",
            f"{without_device}, so `{action.id}` will only be prepared, not compiled",
            span=span,
            hint=hint,
            severity="warning",
        )
    return fault(
        "OB802",
        f"`{name}` is not {_place(absent, action)}, so `{action.id}` will only be prepared, not compiled",
        span=span,
        hint=hint,
        severity="warning",
    )


def _place(need: str, action: Action) -> str:
    """Where a need is missing."""
    if action.toolchain == CURRENT or is_of_machine(need):
        return "on this machine"
    return f"in the toolchain `{action.toolchain}`"


def _way_out(need: str, name: str, action: Action, *, has_script: bool) -> str:
    """What a person can do: no device installs, and a plugin whose compiler is a library has no script."""
    if need.startswith(FILE) or why_without_device(need):
        return "run this target on a machine that has it, with a shared store"
    if need.startswith(LIBRARY):
        return f"name the folder of `{name}` in LD_LIBRARY_PATH, or run `sh compile.sh` in the output where it is found"
    if action.toolchain != CURRENT and not is_of_machine(need):
        return f"add `{name}` to the toolchain"
    if need.startswith(PROGRAM) or has_script:
        return f"install `{name}`, or run `sh compile.sh` in the output where it is installed"
    return f"install `{name}`, or run this target where it is installed, with a shared store"


def _version(action: Action, world: World) -> Version:
    """The distributions where an action runs, as far as they are known."""
    if action.toolchain == CURRENT:
        return world.installed
    return version_in(world.manifest, world.lock, action.toolchain)


RULES: tuple[Rule, ...] = (
    described(
        "OB800",
        "step-after-compile",
        """
        A step comes after `compile`.

        Why: the steps of a target change ONNX graphs, and a compiled variant is not an ONNX graph.
        Bad:
            steps: [{compile: openvino}, {optimize: O1}]
        Good:
            steps: [{optimize: O1}, {compile: openvino}]
        """,
    ),
    described(
        "OB801",
        "tune-of-compiled",
        """
        A target with `compile:` asks for `tune:`.

        Why: `tune` tries the settings of sessions of ONNX Runtime, which does not run the variant.
        Bad:
            compile: openvino
            tune: true
        Good:
            compile: openvino
        """,
    ),
    compiler_missing,
    described(
        "OB803",
        "device-of-backend",
        """
        A backend compiles for another device than the target's.

        Why: the files would run on a device that nobody asked for.
        Bad:
            device: cuda
            compile: openvino
        Good:
            compile: openvino
        """,
    ),
    described(
        "OB804",
        "quantizes-twice",
        """
        A backend is asked to quantize what it cannot quantize.

        Why: the graph is quantized already, two settings contradict each other, or the model reads no text to calibrate
        with.
        Bad:
            quantize: int8
            compile: {backend: openvino, quantize: int8}
        Good:
            compile: {backend: openvino, quantize: int8}
        """,
    ),
    described(
        "OB805",
        "param-of-backend-unused",
        """
        A param of a backend has no effect beside the others.

        Why: the manifest would promise something that the param does not do.
        Bad:
            compile: {backend: openvino, samples: 100}
        Good:
            compile: {backend: openvino, quantize: int8, samples: 100}
        """,
    ),
    described(
        "OB806",
        "no-range-of-sizes",
        """
        A bound of an axis is neither a range of sizes nor a single size.

        Bad:
            compile: {backend: openvino, bounds: {sequence_length: "512..1"}}
        Good:
            compile: {backend: openvino, bounds: {sequence_length: "1..512"}}
        """,
    ),
    described(
        "OB807",
        "groups-that-do-not-fit",
        """
        `group_size` does not divide the inner sizes of the model's matrix products.

        Why: NNCF refuses such a model, but only once it is exported. The sizes are those in `config.json`.
        Bad:
            models: {m: {source: {random: bert, config: {hidden_size: 48}}, targets: [w4]}}
            targets: {w4: {compile: {backend: openvino, weights: int4}}}
        Good:
            models: {m: {source: {random: bert, config: {hidden_size: 48}}, targets: [w4]}}
            targets: {w4: {compile: {backend: openvino, weights: int4, group_size: 16}}}
        """,
    ),
    described(
        "OB808",
        "single-size-in-stages",
        """
        An axis has a single size in a model that generates text.

        Why: its graphs run with a prompt and then token by token, and the past that they read grows.
        Bad:
            models: {m: {source: "random:gpt2", task: text-generation-with-past, targets: [ov]}}
            targets: {ov: {compile: {backend: openvino, bounds: {sequence_length: "64"}}}}
        Good:
            models: {m: {source: "random:gpt2", task: text-generation-with-past, targets: [ov]}}
            targets: {ov: {compile: {backend: openvino, bounds: {sequence_length: "1..64"}}}}
        """,
    ),
)
