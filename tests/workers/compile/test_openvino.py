"""OpenVINO compiles a small graph of token ids, and what it compiled computes what the graph computes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from token_model import OUT, token_model
from tokenizers import Tokenizer

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import RECORD, CompiledStage, StageInput, read_record
from onnxbuild.steps.compiling.openvino_backend import OpenvinoParams
from onnxbuild.steps.kind import Runtime
from onnxbuild.workers.compile.openvino import openvino_compiler, openvino_worker
from onnxbuild.workers.engines.compiled import needs_here
from onnxbuild.workers.engines.compiled.open_variant import open_variant, why_skipped
from onnxbuild.workers.inputs.sentences import SENTENCES

pytest.importorskip("openvino")

Compiled = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return token_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def compiled(model: Path, tmp_path: Path) -> Compiled:
    def make(**params: Any) -> Path:
        facts.clear()
        folder = tmp_path / "compiled"
        folder.mkdir()
        facts.update(openvino_worker.run(OpenvinoParams(**params), {"model": model}, {"model": folder}, _quiet))
        return folder

    facts: dict[str, Any] = {}
    make.facts = facts  # type: ignore[attr-defined]
    return make


def _quiet(*_told: Any) -> None:
    """Nobody listens."""


def feeds(batch: int = 3, tokens: int = 11) -> Mapping[str, np.ndarray]:
    return {"input_ids": np.random.default_rng(1).integers(2, 9, (batch, tokens))}


def difference(model: Path, folder: Path) -> float:
    """The largest one from ONNX Runtime, as a part of the largest value."""
    expected = open_variant(model, threads=1).run("forward", feeds())["last_hidden_state"]
    actual = open_variant(folder, threads=1).run("forward", feeds())["last_hidden_state"]
    assert actual.shape == (3, 11, OUT)
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


# Random weights lose more than trained ones: what is shown is that each way is about as exact as its numbers are.
@pytest.mark.parametrize(
    ("params", "least", "most"),
    [
        ({}, 0.0, 1e-6),
        ({"precision": "bf16"}, 0.0, 0.02),
        ({"quantize": "int8"}, 1e-4, 0.05),
        ({"weights": "int8"}, 1e-5, 0.02),
        ({"weights": "int4", "group_size": 16}, 1e-3, 0.3),
        ({"bounds": {"sequence_length": "1..16"}}, 0.0, 1e-6),
        ({"bounds": {"batch_size": "2", "sequence_length": "11"}}, 0.0, 1e-6),
    ],
)
def test_it_computes_what_the_graph_computes(
    model: Path, compiled: Compiled, params: Mapping[str, Any], least: float, most: float
) -> None:
    folder = compiled(**params)
    assert least <= difference(model, folder) <= most


def test_the_folder_says_how_it_is_loaded_and_has_what_is_beside_the_graph(compiled: Compiled) -> None:
    folder = compiled(precision="f32", bounds={"sequence_length": "1..16"})
    assert sorted(path.name for path in folder.iterdir()) == [
        "compiled.json", "config.json", "model.bin", "model.blob", "model.xml", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    record = read_record(folder)
    assert record is not None
    assert (record.backend, record.state, record.device, record.needs) == ("openvino", "compiled", "CPU", None)
    assert record.properties == {"INFERENCE_PRECISION_HINT": "f32"}
    assert record.settings == {"bounds": {"sequence_length": "1..16"}}
    assert sorted(record.files) == ["model.bin", "model.blob", "model.xml"]
    assert record.stages["forward"].inputs["input_ids"].shape == ("batch_size", "sequence_length")
    assert "/" not in (folder / RECORD).read_text().replace("releases/2026/4", "")


def test_a_size_beyond_its_bound_is_refused(compiled: Compiled) -> None:
    opened = open_variant(compiled(bounds={"sequence_length": "1..8"}), threads=1)
    assert opened.run("forward", feeds(tokens=8))["last_hidden_state"].shape == (3, 8, OUT)
    assert opened.longest == 8
    with pytest.raises(CheckFailed) as failed:
        opened.run("forward", feeds(tokens=9))
    assert failed.value.failure.code == "OBE251"


def test_a_variant_of_one_shape_takes_no_other_without_a_mask(compiled: Compiled) -> None:
    folder = compiled(bounds={"batch_size": "2", "sequence_length": "8"})
    opened = open_variant(folder, threads=1)
    assert opened.longest == 8
    assert opened.run("forward", feeds(batch=5, tokens=8))["last_hidden_state"].shape == (5, 8, OUT)
    for tokens in (7, 9):
        with pytest.raises(CheckFailed) as failed:
            opened.run("forward", feeds(tokens=tokens))
        assert failed.value.failure.code == "OBE251"
    shape = 'shape="2,8"'
    assert shape in (folder / "model.xml").read_text()


def test_a_single_size_is_refused_where_a_model_runs_in_stages() -> None:
    ids = {"input_ids": StageInput(("batch_size", "sequence_length"), "tensor(int64)")}
    stages = {
        name: CompiledStage(file="model.blob", inputs=ids, outputs={"logits": ("batch_size",)})
        for name in ("prefill", "decode")
    }
    openvino_worker._check_axes({"batch_size": "1", "sequence_length": "1..8"}, stages)
    with pytest.raises(CheckFailed) as failed:
        openvino_worker._check_axes({"sequence_length": "8"}, stages)
    words = "`sequence_length: 8` has a single size, and the model runs in several stages"
    assert (failed.value.failure.code, failed.value.failure.message) == ("OBE238", words)


def on_sentences(model: Path, folder: Path) -> float:
    """The mean cosine of tokens, by hand."""
    exact, found = open_variant(model, threads=1), open_variant(folder, threads=1)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    cosines: list[float] = []
    for text in SENTENCES[:48]:
        fed = {"input_ids": np.array([tokenizer.encode(text).ids])}
        one, other = (side.run("forward", fed)["last_hidden_state"][0] for side in (exact, found))
        every = -(-len(one) // 8)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines += ((one * other).sum(axis=1) / lengths)[::every].tolist()
    return float(np.mean(cosines))


def test_operations_stay_in_float_until_a_bound_holds(model: Path, compiled: Compiled, tmp_path: Path) -> None:
    def found(bound: str) -> Mapping[str, Any]:
        place = tmp_path / "compiled"
        if place.exists():
            shutil.rmtree(place)
        compiled(quantize="int8", subject_to={"cosine_mean": bound})
        facts: Mapping[str, Any] = compiled.facts["files"]["model.onnx"]  # type: ignore[attr-defined]
        assert facts["cosine_mean"] == pytest.approx(on_sentences(model, place), abs=1e-6)
        return facts

    loose = found(">= 0.5")
    assert (loose["in_float"], loose["left_in_float"], len(loose["trials"])) == (0, [], 1)
    between = loose["cosine_mean"] + 0.2 * (1 - loose["cosine_mean"])
    strict = found(f">= {between:.7f}")
    assert strict["in_float"] >= 1
    assert strict["in_int8"] >= 1
    assert strict["cosine_mean"] >= between > loose["cosine_mean"]
    assert [one["in_float"] for one in strict["trials"]][:2] == [0, 1]
    with pytest.raises(CheckFailed) as failed:
        found(">= 0.99999999")
    assert failed.value.failure.code == "OBE115"
    assert "no mix of int8 and float keeps the bounds; the nearest of " in failed.value.failure.message


# The search in a process that waits for a line after each thing that it tells.
KILLED = """
import sys
from pathlib import Path
import msgspec
from onnxbuild.steps.compiling.openvino_backend import OpenvinoParams
from onnxbuild.workers.compile.openvino import openvino_worker

def tell(what, *_numbers):
    print(what, flush=True)
    sys.stdin.readline()

params = msgspec.json.decode(sys.argv[1], type=OpenvinoParams)
source, output, journal = map(Path, sys.argv[2:])
openvino_worker.run(params, {"model": source}, {"model": output, "journal": journal}, tell)
"""


def told(model: Path, folder: Path, params: OpenvinoParams, journal: Path, *, until: str) -> list[str]:
    """What is measured in a process that is killed when it tells that it begins something."""
    folder.mkdir()
    arguments = [msgspec.json.encode(params).decode(), *map(str, (model, folder, journal))]
    lines = []
    command = [sys.executable, "-c", KILLED, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip().partition(": ")[2])
            if lines[-1].startswith(until):
                process.kill()  # SIGKILL
                break
            process.stdin.write("\n")
    assert process.returncode == -signal.SIGKILL
    return [line for line in lines if line.startswith(("trial", "sensitivity"))]


def resumed(model: Path, folder: Path, params: OpenvinoParams, **outputs: Path) -> tuple[list[str], Any, np.ndarray]:
    """What is measured, what is found, and what the result computes."""
    folder.mkdir()
    said: list[str] = []
    facts = openvino_worker.run(
        params, {"model": model}, {"model": folder, **outputs}, lambda what, *_: said.append(what)
    )
    found = {name: value for name, value in facts["files"]["model.onnx"].items() if name != "bytes"}
    values = open_variant(folder, threads=1).run("forward", feeds())["last_hidden_state"]
    return [one.partition(": ")[2] for one in said if ": " in one], found, values


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_search_continues_and_gives_the_same_model(model: Path, tmp_path: Path) -> None:
    params = OpenvinoParams(quantize="int8", subject_to={"cosine_mean": ">= 0.99993"}, samples=9)
    journal = tmp_path / "journal"
    journal.mkdir()
    first = told(model, tmp_path / "first", params, journal, until="sensitivity of operation 2")
    again, found, values = resumed(model, tmp_path / "again", params, journal=journal)
    whole, expected, exact = resumed(model, tmp_path / "whole", params)
    # The process begins with what the one before was killed in, and measures nothing twice.
    assert (first[0], again[0]) == ("trial 1: 0 operations in float", first[-1])
    assert [*first[:-1], *again] == whole
    assert len(whole) == len(set(whole)) > len(first) + 1
    assert found == expected
    assert np.array_equal(values, exact)
    # A process that is killed while it writes the result has measured everything.
    nothing, found, values = resumed(model, tmp_path / "kept", params, journal=journal)
    assert (nothing, found) == ([], expected)
    assert np.array_equal(values, exact)


def test_an_axis_that_no_input_has_is_named(compiled: Compiled) -> None:
    with pytest.raises(CheckFailed) as failed:
        compiled(bounds={"length": "1..8"})
    assert failed.value.failure.code == "OBE238"
    assert failed.value.failure.message == "no input has an axis `length`"
    assert failed.value.failure.notes == (("axes", "`batch_size`, `sequence_length`"),)


def test_outputs_are_arrays_of_their_own_and_calls_are_independent(compiled: Compiled) -> None:
    opened = open_variant(compiled(), threads=2)
    first = opened.run("forward", feeds())["last_hidden_state"]
    kept = first.copy()
    opened.run("forward", {"input_ids": np.zeros((3, 11), np.int64)})
    assert np.array_equal(first, kept)
    assert opened.threads_used() == 2
    assert (opened.name, opened.where.place, opened.where.name) == ("openvino", "device", "CPU")


def changed(folder: Path, **fields: Any) -> None:
    content = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**content, **fields}))


def refused(folder: Path) -> tuple[str, str]:
    with pytest.raises(CheckFailed) as failed:
        open_variant(folder, threads=1)
    return failed.value.failure.code, failed.value.failure.message


def test_a_blob_is_loaded_with_its_property_and_refused_without_it(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    folder, given = compiled(precision="f32"), []
    core = openvino.Core

    class Watched:
        def import_model(self, blob: bytes, device: str, properties: Mapping[str, Any]) -> Any:
            given.append(dict(properties))
            return core().import_model(blob, device, properties)

    monkeypatch.setattr("onnxbuild.workers.engines.compiled.openvino_engine._core", Watched)
    open_variant(folder, threads=1)
    assert given == [{"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}]
    changed(folder, properties={})
    message = "`compiled.json` lacks the property INFERENCE_PRECISION_HINT, without which it computes otherwise"
    assert refused(folder) == ("OBE234", message)


def test_a_blob_that_is_imported_without_its_hint_computes_in_bf16_without_a_word(compiled: Compiled) -> None:
    import openvino

    folder, core = compiled(precision="f32"), openvino.Core()
    record = read_record(folder)
    assert record is not None
    blob, values = (folder / "model.blob").read_bytes(), []
    for properties in (dict(record.properties), {}):
        model = core.import_model(blob, "CPU", properties)
        values.append(model(dict(feeds()))[model.output(0)].copy())
    difference = np.abs(values[0] - values[1]).max() / np.abs(values[0]).max()
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert 1e-4 < difference < 0.02 if has_bf16 else difference == 0


def test_a_hint_that_has_changed_is_refused(compiled: Compiled) -> None:
    folder = compiled(precision="f32")
    changed(folder, properties={"INFERENCE_PRECISION_HINT": "bf16"})
    message = "`compiled.json` is not what was written: its properties, settings or stages have changed"
    assert refused(folder) == ("OBE232", message)


def test_an_empty_blob_is_a_failure(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    monkeypatch.setattr(openvino.CompiledModel, "export_model", lambda _self: BytesIO(b""))
    with pytest.raises(CheckFailed) as failed:
        compiled()
    assert failed.value.failure.code == "OBE236"


def test_a_stale_blob_a_cut_one_and_a_missing_one_are_refused(compiled: Compiled) -> None:
    folder = compiled()
    blob = (folder / "model.blob").read_bytes()
    (folder / "model.blob").write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    assert refused(folder) == ("OBE232", "`model.blob` is not the file that was compiled")
    (folder / "model.blob").write_bytes(blob[:100])
    changed(folder, files={})  # even where the record does not tell
    code, message = refused(folder)
    assert (code, message) == ("OBE232", "OpenVINO does not load `model.blob`")
    (folder / "model.blob").unlink()
    changed(folder, files={"model.blob": "0"})
    assert refused(folder) == ("OBE232", "`model.blob` is missing")


def test_a_blob_of_another_version_is_refused(compiled: Compiled) -> None:
    folder = compiled()
    changed(folder, compiler={"name": "openvino", "version": "2020.1"})
    code, message = refused(folder)
    assert code == "OBE233"
    assert message.startswith("the blob is of OpenVINO 2020.1, and 20")


def test_a_record_that_cannot_be_read_or_names_no_backend_is_refused(compiled: Compiled) -> None:
    folder = compiled()
    changed(folder, backend="abacus")
    assert refused(folder)[0] == "OBE231"
    changed(folder, format=99)
    assert refused(folder) == ("OBE230", "`compiled.json` is missing or has another format")
    (folder / RECORD).write_text("{")
    assert refused(folder)[0] == "OBE230"


def test_without_openvino_the_graphs_are_prepared_and_nothing_passes(
    model: Path, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs_here, "version_here", lambda name: None if name == "nncf" else "1")
    folder = compiled(quantize="int8")
    assert compiled.facts["state"] == "prepared"  # type: ignore[attr-defined]
    assert compiled.facts["needs"] == "nncf"  # type: ignore[attr-defined]
    assert (folder / "model.onnx").read_bytes() == (model / "model.onnx").read_bytes()
    runtime = Runtime(backend="openvino", needs=("openvino",))
    assert why_skipped(folder, runtime) == "needs nncf: the variant is only prepared"
    monkeypatch.setattr(needs_here, "version_here", lambda _name: None)
    assert why_skipped(folder, runtime) == "needs openvino"


# Without onnxbuild, and as a person runs it.
ALONE = "import runpy, sys; sys.modules['onnxbuild'] = None; runpy.run_path('compile.py', run_name='__main__')"


@pytest.mark.parametrize(
    ("command", "params"),
    [
        ((sys.executable, "-c", ALONE), {"quantize": "int8", "bounds": {"sequence_length": "11"}}),
        (("sh", "compile.sh"), {"quantize": "int8", "subject_to": {"cosine_mean": ">= 0.9"}, "precision": "bf16"}),
    ],
)
def test_the_command_of_a_prepared_variant_makes_what_onnxbuild_makes(
    compiled: Compiled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    params: Mapping[str, Any],
) -> None:
    expected = compiled(**params).rename(tmp_path / "expected")
    with monkeypatch.context() as changed_here:
        changed_here.setattr(needs_here, "version_here", lambda name: None if name == "nncf" else "1")
        folder = compiled(**params)
    assert not (folder / "model.blob").exists()
    assert (folder / "compile.sh").read_text().splitlines()[-1] == "python compile.py"
    moved = folder.rename(tmp_path / "elsewhere")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=moved, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "compiled model.blob" in done.stdout
    properties = json.loads((moved / RECORD).read_text())["properties"]
    assert np.array_equal(*(answer(one / "model.blob", properties) for one in (expected, moved)))


def answer(blob: Path, properties: Mapping[str, str]) -> np.ndarray:
    """What a user gets, as docs/how-to/compile.md says."""
    import openvino

    model = openvino.Core().import_model(blob.read_bytes(), "CPU", dict(properties))
    return np.array(model(dict(feeds(1)))["last_hidden_state"])


def test_a_script_without_its_libraries_names_them(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as changed_here:
        changed_here.setattr(needs_here, "version_here", lambda _name: None)
        folder = compiled(weights="int8")
    monkeypatch.setattr(openvino_compiler, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit) as ended:
        openvino_compiler.main(folder)
    assert ended.value.code == "openvino, nncf is not installed: pip install openvino nncf"


def test_a_prepared_variant_says_what_is_still_to_be_done() -> None:
    from onnxbuild.workers.compile.openvino.openvino_worker import _asked

    assert _asked(OpenvinoParams(weights="int4", group_size=16)) == {"weights": "int4", "group_size": 16}
    assert _asked(OpenvinoParams()) == {}


def test_a_library_of_a_plugin_has_no_script() -> None:
    from onnxbuild.needs.step_needs import FILE, PROGRAM
    from onnxbuild.planning.action_graph import Action
    from onnxbuild.rules.compiling.compile_rules import _way_out

    action = Action(id="minilm/cpu:compile", kind="compile", params={}, inputs={})
    assert "compile.sh" in _way_out(f"{PROGRAM}chipc", "chipc", action, has_script=False)
    assert "compile.sh" in _way_out("openvino", "openvino", action, has_script=True)
    assert "compile.sh" not in _way_out("chips", "chips", action, has_script=False)
    assert "install" not in _way_out(f"{FILE}/dev/kfd", "/dev/kfd", action, has_script=True)
