"""The context that planning hands to the kind of a step: each of its fields, for steps, checks and precisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.expand import expand
from onnxbuild.planning.known_versions import known_versions
from onnxbuild.planning.locked import Lock
from onnxbuild.steps import KINDS
from onnxbuild.steps.kind import Context, Kind, Params

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)


class Noted(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Params of the toy kinds."""

    level: int = 1


@pytest.fixture
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The contexts that two toy kinds got, a step `note` and a check `look`, by kind and device."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    for name in ("model.safetensors", "preprocessor_config.json", "vocab.json"):
        (tmp_path / "speech" / name).write_text("{}")

    def kind(name: str, output: str, seen: dict[tuple[str, str], Context]) -> Kind:
        def check(_params: Noted, context: Context):
            seen[(name, context.device)] = context
            return ()

        return Kind(
            name=name, version=1, params=Noted, inputs={"model": "onnx"}, outputs={output: output},
            worker=f"toy:{name}", check=check, precision_after=lambda _params, _context: "halved",
        )  # fmt: skip

    def plan(model: str) -> dict[tuple[str, str], Context]:
        seen: dict[tuple[str, str], Context] = {}
        kinds = {**KINDS, "note": kind("note", "onnx", seen), "look": kind("look", "report", seen)}
        text = f"onnxbuild: 1\nmodels: {{m: {{{model}, validate: false}}}}\n"
        (tmp_path / "m.yaml").write_text(text)
        manifest = load_manifest("m.yaml", kinds=kinds)
        expand(manifest, kinds, Lock(), MACHINE)
        assert all(one.versions == known_versions(manifest, Lock(), None) for one in seen.values())
        return seen

    return plan


TARGETS = "targets: [{name: a, note: {level: 2}, look: true}, {name: b, device: cuda, note: {}}]"


def test_a_step_and_a_check_know_the_model_and_what_ran_before(contexts) -> None:
    found = contexts(f"source: 'local:speech', task: automatic-speech-recognition, {TARGETS}")
    known = {"task": "automatic-speech-recognition", "config": {"model_type": "wav2vec2"}, "reference": "checkpoint"}
    for (kind, device), expected in {
        ("note", "cpu"): ("fp32", ("fetch", "export"), {"level"}),
        ("note", "cuda"): ("fp32", ("fetch", "export"), set()),
        ("look", "cpu"): ("halved", ("fetch", "export", "note"), set()),
    }.items():
        context = found[kind, device]
        assert (context.precision, context.previous, context.written) == expected
        assert {name: getattr(context, name) for name in known} == known
        # A CTC model has no decoder: its config says so, its task alone does not.
        assert (context.family, context.machine, context.trusts_code) == ("encoder", MACHINE, False)
    assert len(found) == 3


def test_a_check_that_is_not_on_by_default_and_not_asked_for_is_not_looked_at(contexts) -> None:
    assert ("look", "cuda") not in contexts(f"source: 'random:bert', task: fill-mask, {TARGETS}")


@pytest.mark.parametrize("trusts", ["true", "false"])
def test_a_step_knows_whether_code_of_the_checkpoint_may_run(contexts, trusts: str) -> None:
    export = f"export: {{dtype: fp16, trust_remote_code: {trusts}}}"
    found = contexts(f"source: 'random:bert', task: fill-mask, {export}, {TARGETS}")["note", "cpu"]
    assert (found.precision, found.trusts_code) == ("fp16", trusts == "true")


def test_the_steps_of_an_onnx_model_start_from_the_fetch(contexts, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"x")
    found = contexts(f"source: 'onnx:g.onnx', {TARGETS}")["note", "cpu"]
    assert (found.task, found.config, found.previous, found.reference) == (None, None, ("fetch",), "onnx")
