"""The backend `qnn`: integers of one shape for Qualcomm's HTP, its context binary, and its run in the emulator.

The compiler is 243 MB with a licence of its own: what needs it runs where somebody has installed onnxruntime-qnn.
"""

import json
import shlex
import shutil
import sys
from importlib import metadata

import devices_here
import numpy as np
import onnx
import pytest
from small_models import classifier, exported

from onnxbuild.needs.step_needs import DEVICE
from onnxbuild.protocol import CheckFailed
from onnxbuild.runners.programs import places_of, version_on_machine
from onnxbuild.steps import KINDS
from onnxbuild.steps.compiling.qnn_backend import QNN_DISTRIBUTION, QnnParams
from onnxbuild.steps.kind import Runtime, packages_of
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.workers.compile.qnn import qnn_worker
from onnxbuild.workers.engines.compiled.open_variant import open_variant, why_not_timed, why_skipped
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel


def has_compiler():
    return any(one.metadata["Name"] == QNN_DISTRIBUTION for one in metadata.distributions())


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="onnxruntime-qnn is not installed")


def silent(*_said):
    """No progress."""


def compiled(folder, model=None, **params):
    folder.mkdir()
    given = QnnParams(backend="qnn", **{"sequence": 23, "samples": 5, **params})
    facts = qnn_worker.run(given, {"model": (model or classifier()).onnx}, {"model": folder}, silent)
    return facts, json.loads((folder / "compiled.json").read_text(encoding="utf-8"))


def feeds(rows, tokens):
    ids = np.random.default_rng(3).integers(5, 400, (rows, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def code_of(call):
    with pytest.raises(CheckFailed) as caught:
        call()
    return caught.value.failure.code


def cosine(one, other):
    return float(one.ravel() @ other.ravel() / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.fixture
def without_compiler(monkeypatch):
    monkeypatch.setattr(qnn_worker, "absent_here", lambda needs: needs[0])


@pytest.fixture
def stand_in(monkeypatch):
    """A compiler that is a shell script: what it does is up to the test."""
    monkeypatch.setattr(qnn_worker, "absent_here", lambda _needs: None)

    def use(script):
        monkeypatch.setattr(qnn_worker, "_this_python", lambda: ("sh", "-c", script))

    return use


@pytest.mark.parametrize(("precision", "kind"), [("a16w8", "uint16"), ("a8w8", "uint8")])
def test_without_the_compiler_everything_is_written_that_it_is_handed(tmp_path, without_compiler, precision, kind):
    facts, record = compiled(tmp_path / "out", precision=precision, batch=2, htp_arch="75", optimization="3")
    assert (facts["state"], facts["needs"], facts["samples"]) == ("prepared", QNN_DISTRIBUTION, 5)
    graph = onnx.load(tmp_path / "out" / "model.qdq.onnx").graph
    assert [[d.dim_value for d in one.type.tensor_type.shape.dim] for one in graph.input] == [[2, 23]] * 3
    points = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"}
    types = {onnx.numpy_helper.to_array(one).dtype.name for one in graph.initializer if one.name in points}
    assert kind in types
    assert record["properties"] == {"htp_arch": "75", "htp_graph_finalization_optimization_mode": "3"}
    last = (tmp_path / "out" / "compile.sh").read_text(encoding="utf-8").splitlines()[-1]
    options = ["htp_arch=75", "htp_graph_finalization_optimization_mode=3"]
    assert shlex.split(last) == ["python", "compile_context.py", "model.qdq.onnx", "model_ctx.onnx", *options]


def test_the_integers_agree_with_the_graph(tmp_path, without_compiler):
    compiled(tmp_path / "out", samples=16)
    place = tmp_path / "plain"
    place.mkdir()
    (tmp_path / "out" / "model.qdq.onnx").rename(place / "model.onnx")
    fed = feeds(7, 23)
    expected = OnnxModel(classifier().onnx, threads=1).run("forward", fed)["logits"]
    integers = OnnxModel(place, threads=1)
    rows = [integers.run("forward", {name: value[[row]] for name, value in fed.items()})["logits"] for row in range(7)]
    found = np.concatenate(rows)
    assert cosine(expected, found) > 0.95
    assert np.abs(expected - found).max() > 0


def test_a_graph_that_grows_is_refused(tmp_path):
    assert code_of(lambda: compiled(tmp_path / "out", exported("gpt2"))) == "OBE238"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("kill -9 $$", "OBE235"),
        ("echo no memory; exit 3", "OBE235"),
        ("exit 0", "OBE236"),
        (": > model_ctx.onnx", "OBE236"),
    ],
)
def test_a_compiler_that_dies_or_writes_nothing_is_a_failure(tmp_path, stand_in, script, code):
    stand_in(script)
    assert code_of(lambda: compiled(tmp_path / "out")) == code


def test_an_operator_that_the_htp_lacks_is_named(tmp_path):
    node = onnx.helper.make_node("Bernoulli", ["x"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [])), tmp_path / "model.onnx")
    with pytest.raises(CheckFailed, match="OBE252 the HTP has no operator for 1 × Bernoulli"):
        qnn_worker._check_operators(tmp_path / "model.onnx")


@needs_compiler
@pytest.mark.parametrize("precision", ["a16w8", "a8w8"])
def test_the_context_runs_in_the_emulator_for_rows_of_any_length(tmp_path, precision):
    _, record = compiled(tmp_path / "out", precision=precision, samples=16)
    assert record["state"] == "compiled"
    engine = open_variant(tmp_path / "out", threads=1)
    assert (engine.where.place, engine.where.name, engine.longest) == ("emulator", "HTP", 23)
    fed = feeds(3, 17)
    expected = OnnxModel(classifier().onnx, threads=1).run("forward", fed)["logits"]
    assert cosine(expected, engine.run("forward", fed)["logits"]) > (0.97 if precision == "a16w8" else 0.85)
    assert code_of(lambda: engine.run("forward", feeds(1, 24))) == "OBE251"


def _damage_binary(folder):
    path = folder / "model_ctx_qnn.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def _altered(change):
    def damage(folder):
        path = folder / "compiled.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")

    return damage


@pytest.fixture(scope="module")
def stood_in(tmp_path_factory):
    """What is compiled where a stand-in writes the context: its checks come before any runtime."""
    folder = tmp_path_factory.mktemp("qnn") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qnn_worker, "absent_here", lambda _needs: None)
        script = "echo context > model_ctx.onnx; echo binary > model_ctx_qnn.bin"
        patch.setattr(qnn_worker, "_this_python", lambda: ("sh", "-c", script))
        compiled(folder)
    return folder


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_damage_binary, "OBE232"),
        (lambda folder: (folder / "model_ctx.onnx").unlink(), "OBE232"),
        (_altered(lambda record: record["compiler"].update(version="2.0.0")), "OBE233"),
        (_altered(lambda record: record["settings"].pop("sizes")), "OBE234"),
        (_altered(lambda record: record["settings"].pop("rows")), "OBE234"),
        (_altered(lambda record: record.update(stages={})), "OBE230"),
        (_altered(lambda record: record["properties"].update(htp_arch="68")), "OBE232"),
    ],
    ids=["stale", "missing", "version", "sizes", "rows", "stages", "properties"],
)
def test_a_context_that_does_not_hold_is_refused(tmp_path, stood_in, damage, code):
    shutil.copytree(stood_in, tmp_path / "out")
    damage(tmp_path / "out")
    assert code_of(lambda: open_variant(tmp_path / "out", threads=1)) == code


def test_an_emulator_is_not_measured(stood_in, monkeypatch):
    here = Runtime(backend="qnn", needs=())
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert why_not_timed(stood_in, here) == "needs HTP: an emulator is not measured"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    devices_here.drivers(monkeypatch, {"/dev": ("null", "fastrpc-cdsp")})
    assert why_not_timed(stood_in, here) is None


@pytest.mark.skipif(sys.platform != "linux", reason="every Windows on Arm has an HTP")
def test_an_arm_server_has_no_htp(stood_in, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    devices_here.drivers(monkeypatch, {"/dev": ("null", "kvm")})
    here = Runtime(backend="qnn", needs=())
    words = "needs qnn: no HTP is here: `/dev` has no `fastrpc-cdsp`"
    assert why_skipped(stood_in, here) == why_not_timed(stood_in, here) == words
    need = f"{DEVICE}HTP"
    assert need in packages_of(KINDS["validate"], ValidateParams(task="fill-mask", runtime=here))
    assert version_on_machine(need) == "absent"
    assert [*places_of([need])] == ["/dev/fastrpc-cdsp", "/dev/adsprpc-smd"]
