"""`verify --revalidate`: what is planned from an account, and what is refused because the account may be anybody's."""

from __future__ import annotations

import pytest
from folders_to_check import BUILT, ROWS, folder_with

from onnxbuild.commands.proving import check_again as module
from onnxbuild.commands.proving.check_again import check_again
from onnxbuild.deliver.checking.account import account_of
from onnxbuild.digest import digest_value
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import FilesSource, OutputRef
from onnxbuild.steps import KINDS
from onnxbuild.steps.packaging.package_kind import CLIENT
from onnxbuild.store.store import Store

LOCAL = {**BUILT["fetch"], "params": {"origin": "files", "files": ["model.bin"]}}


@pytest.fixture
def planned(monkeypatch):
    """The graphs that would be run; every action passes."""
    graphs = []

    def run(graph, *_rest):
        graphs.append(graph)
        outputs = {"fetch": {"model": "b" * 64}, "validate": {}}
        return {
            name: Outcome(id=name, kind=one.kind, outcome="built", outputs=outputs.get(one.kind, {}))
            for name, one in graph.actions.items()
        }

    monkeypatch.setattr(module, "_run", run)
    return graphs


def checked(tmp_path, *places, offline=False, is_signed=False, files=None, **changes):
    """What `check_again` gives for a folder with these steps: the checks that passed, and the codes and messages."""
    folder = folder_with(tmp_path / "f", files, **changes)
    passed, faults = check_again(
        folder, account_of(folder)[0], places, tmp_path / "work", offline=offline, is_signed=is_signed
    )
    return passed, [(one.code, one.message.replace(str(folder), "F")) for one in faults]


def test_the_check_is_planned_on_the_folder_s_own_files(tmp_path, planned):
    assert checked(tmp_path) == (("validate",), [])
    actions = planned[0].actions
    assert list(actions) == ["m:fetch", "datasets/reviews:fetch", "m/t:validate"]
    names = ("config.json", "model.onnx", "onnx/data.bin")
    assert actions["m/t:validate"].inputs == {
        "model": FilesSource(str(tmp_path / "f"), names),
        "reference": OutputRef("m:fetch", "model"),
        "dataset": OutputRef("datasets/reviews:fetch", "model"),
    }
    assert actions["m/t:validate"].params == BUILT["validate"]["params"]
    assert actions["datasets/reviews:fetch"].params["revision"] == ROWS["commit"]


def test_a_proof_of_what_the_graph_was_made_from_is_no_check_of_it(tmp_path, planned):
    """It has another graph and tighter bounds."""
    export = {**BUILT["fetch"], "id": "m:export", "kind": "export", "outputs": {"model": "8" * 64}}
    rounded = {**export, "id": "m/t:quantize", "kind": "quantize", "outputs": {"model": "a" * 64}}
    proof = {**BUILT["validate"], "id": "m:proof", "inputs": {"model": "8" * 64, "reference": "b" * 64}}
    steps = [BUILT["fetch"], export, rounded, proof, BUILT["validate"]]
    assert checked(tmp_path, steps=steps) == (("validate",), [])
    assert "m:proof" not in planned[0].actions
    same = [BUILT["fetch"], export, {**rounded, "outputs": export["outputs"]}, proof]  # a step that changed nothing
    assert checked(tmp_path, steps=same) == (("validate",), [])
    assert "m:proof" in planned[1].actions


def test_a_local_source_is_known_by_its_digest(tmp_path, planned):
    for name, data in (("right", b"weights"), ("wrong", b"other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_bytes(data)
    with Store(tmp_path / "store") as store:
        digest = store.digest_files(str(tmp_path / "right"), ("model.bin",)).digest
    fetch = {**LOCAL, "inputs": {"files": digest}}
    steps = [fetch, BUILT["validate"]]
    places = [str(tmp_path / "wrong"), str(tmp_path / "right"), str(tmp_path / "missing")]
    assert checked(tmp_path, *places, steps=steps) == (("validate",), [])
    assert planned[0].actions["m:fetch"].inputs == {"files": FilesSource(str(tmp_path / "right"), ("model.bin",))}
    reason = f"input `files` of `m:fetch`, with the digest {digest[:16]}…, is in none of the places"
    wanted = [("OBE180", f"`F` cannot be validated again: {reason}")]
    assert checked(tmp_path, str(tmp_path / "wrong"), steps=steps) == ((), wanted)


def test_a_source_with_other_content_proves_nothing(tmp_path, planned):
    fetch = {**BUILT["fetch"], "outputs": {"model": "9" * 64}}
    check = {**BUILT["validate"], "inputs": {**BUILT["validate"]["inputs"], "reference": "9" * 64}}
    message = "the source of `m:fetch` has other content than the one that was built"
    assert checked(tmp_path, steps=[fetch, check]) == ((), [("OBE181", message)])


def lacking(tmp_path, *steps, **more):
    passed, ((code, message),) = checked(tmp_path, steps=list(steps), **more)
    assert (passed, code) == ((), "OBE180")
    return message.removeprefix("`F` cannot be validated again: ")


def test_what_an_account_may_not_have_run(tmp_path, planned):
    check, fetch = BUILT["validate"], BUILT["fetch"]
    trusting = {**check, "params": {**check["params"], "trust_remote_code": True}}
    assert lacking(tmp_path, fetch, trusting).startswith("`m/t:validate` runs code of the model's author")
    export = {**fetch, "id": "m:export", "kind": "export", "params": {}}
    assert "`reference` of `m/t:validate`" in lacking(tmp_path, export, check)  # no kind but fetch and prepare
    circle = {**fetch, "id": "m:prepare", "kind": "prepare", "params": {}, "inputs": {"model": "b" * 64}}
    assert lacking(tmp_path, circle, check) == "`m:prepare` needs its own output"
    unknown = {**check, "params": {"new": 1}}
    assert lacking(tmp_path, fetch, unknown).startswith("`m/t:validate` has params that this version does not know")
    assert lacking(tmp_path, fetch) == "its build had no validation"
    assert lacking(tmp_path, fetch, check, offline=True).startswith("`org/tiny` is on a Hub")
    assert planned == []


def test_a_check_that_hides_behind_another_step_is_not_called_passed(tmp_path, planned):
    """An account by hand: the check has the name of the fetch, which passes."""
    check = {**CLIENT_CHECK, "id": "m:fetch", "kind": "client-plain", "params": {"task": "text-classification"}}
    steps = [BUILT["fetch"], BUILT["validate"], check]
    assert lacking(tmp_path, *steps) == "two of its steps are called `m:fetch`"
    assert planned == []


def test_a_check_outside_its_bounds_has_not_passed_though_its_manifest_only_warns(tmp_path, monkeypatch):
    facts = {"passed": False, "metrics": {"cosine_min": 0.98765}, "thresholds": {"cosine_min": 0.999}}

    def run(graph, *_rest):
        outputs = {"fetch": {"model": "b" * 64}, "validate": {}}
        return {
            name: Outcome(
                id=name, kind=one.kind, outcome="built", outputs=outputs[one.kind],
                facts=facts if one.kind == "validate" else {},
            )
            for name, one in graph.actions.items()
        }  # fmt: skip

    monkeypatch.setattr(module, "_run", run)
    message = "`m/t:validate` is outside its bounds (`cosine_min` is 0.9877), of which its manifest only warns"
    assert checked(tmp_path) == ((), [("OBE180", message)])


CLIENT_CHECK = {**BUILT["validate"], "inputs": {"model": "a" * 64}}
CLIENTS = sorted(name for name in KINDS if name.startswith(CLIENT))


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_check_that_runs_code_of_the_folder_needs_a_signature(tmp_path, planned, kind):
    step = {**CLIENT_CHECK, "id": f"m:{kind}", "kind": kind, "params": {"task": "text-classification"}}
    if kind in {"client-plain", "client-ovms", "client-transformers.js"}:  # they read data alone
        assert checked(tmp_path, steps=[step]) == ((kind,), [])
        return
    reason = "runs code of the folder, and no trusted key has signed it"
    assert lacking(tmp_path, step) == f"`m:{kind}` {reason}"
    assert planned == []
    assert checked(tmp_path, steps=[step], is_signed=True) == ((kind,), [])


@pytest.mark.parametrize("name", ["compiled.json", "Compiled.JSON"])
def test_a_compiled_folder_needs_a_signature(tmp_path, planned, name):
    """The record names the provider and its properties, and some of these are paths of libraries to load."""
    load = {**CLIENT_CHECK, "id": "m/t:load", "kind": "load", "params": {}}
    files = {"model.onnx": b"graph", name: b"{}"}
    assert lacking(tmp_path, load, files=files).startswith("the backend of `compiled.json` runs code of the folder")
    assert planned == []
    assert checked(tmp_path, steps=[load], files=files, is_signed=True) == (("load",), [])


def test_a_check_of_a_plugin_that_is_absent_is_named(tmp_path, planned):
    step = {**CLIENT_CHECK, "id": "m:client-new", "kind": "client-new"}
    assert lacking(tmp_path, step) == "no step kind `client-new` is installed"


def test_a_check_that_is_skipped_has_not_passed(tmp_path, monkeypatch):
    """Neither a client that is absent, nor a compiled variant that this machine cannot run."""
    load = {**CLIENT_CHECK, "id": "m/t:load", "kind": "load", "params": {}}
    plain = {**CLIENT_CHECK, "id": "m:client-plain", "kind": "client-plain", "params": {}}

    def run(graph, *_rest):
        facts = {"load": {}, "client-plain": {"skipped": "needs optimum-onnx"}}
        return {name: Outcome(id=name, kind=one.kind, outcome="built", facts=facts[one.kind])
                for name, one in graph.actions.items()}  # fmt: skip

    monkeypatch.setattr(module, "_run", run)
    message = "`F` was not validated again: `m:client-plain` was skipped, because it needs optimum-onnx"
    assert checked(tmp_path, steps=[load, plain]) == ((), [("OBE180", message)])
    assert checked(tmp_path, steps=[load]) == (("load",), [])


def test_a_name_that_leads_out_of_a_place_is_not_read(tmp_path, planned):
    (tmp_path / "place").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    with Store(tmp_path / "store") as store:
        digest = store.digest_files(str(tmp_path / "place"), ("../secret",)).digest
    fetch = {**LOCAL, "params": {"origin": "files", "files": ["../secret"]}, "inputs": {"files": digest}}
    _, ((_, message),) = checked(tmp_path, str(tmp_path / "place"), steps=[fetch, BUILT["validate"]])
    assert message.endswith("is in none of the places")
    assert planned == []


def test_rows_in_a_manifest_are_not_found(tmp_path, planned):
    digest = digest_value([{"text": "a"}])
    datasets = {"reviews": {"digest": digest}}
    check = {**BUILT["validate"], "inputs": {**BUILT["validate"]["inputs"], "dataset": digest}}
    passed, ((code, message),) = checked(tmp_path, steps=[BUILT["fetch"], check], datasets=datasets)
    assert (passed, code) == ((), "OBE180")
    assert "input `dataset` of `m/t:validate`" in message


@pytest.mark.heavy
def test_the_real_worker_says_whether_the_graph_loads(tmp_path):
    """An account whose digests are right, and whose graph is none."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    load = {**BUILT["validate"], "id": "m/t:load", "kind": "load", "params": {}, "inputs": {"model": "a" * 64}}
    right, wrong = ({"model.onnx": data} for data in (model.SerializeToString(), b"no graph"))
    for number, (files, wanted) in enumerate(((right, (("load",), [])), (wrong, None))):
        folder = folder_with(tmp_path / str(number), files, steps=[load])
        found = check_again(folder, account_of(folder)[0], (), tmp_path / f"work{number}", offline=True)
        assert found == wanted if wanted else (found[0] == () and found[1][0].code.startswith("OBE"))
