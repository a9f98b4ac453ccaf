"""`provenance`: a CycloneDX bill and a SLSA statement, against the official schemas and libraries."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files as resources

import pytest
from folders_to_check import BUILT, FILES, SOURCE, folder_with

from onnxbuild.cli import run_command
from onnxbuild.deliver.provenance import PROVENANCE


def document(capsys, *arguments):
    assert run_command(["provenance", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def schema():
    """The official schema of CycloneDX 1.6, and those that it refers to, as cyclonedx-python-lib has them."""
    from jsonschema import Draft7Validator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    place = resources("cyclonedx.schema._res")
    named = {name: json.loads((place / f"{name}.SNAPSHOT.schema.json").read_text("utf-8"))
             for name in ("bom-1.6", "spdx", "jsf-0.82")}  # fmt: skip
    # The schema refers to the others by the names of their files, relative to its own address.
    base = named["bom-1.6"]["$id"].rpartition("/")[0]
    registry = Registry().with_resources(
        (f"{place}{name}.SNAPSHOT.schema.json", Resource.from_contents(value, default_specification=DRAFT7))
        for name, value in named.items() for place in ("", f"{base}/")
    )  # fmt: skip
    return Draft7Validator(named["bom-1.6"], registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_the_bill_agrees_with_the_official_schema(tmp_path, capsys, schema):
    bill = document(capsys, folder_with(tmp_path / "f"))
    assert [error.message for error in schema.iter_errors(bill)] == []
    assert [*schema.iter_errors({**bill, "specVersion": 1})] != []  # it does judge


ODD = {
    "a folder of an older version": {"sources": None, "datasets": {}},
    "no steps": {"steps": [], "sources": [], "datasets": {}},
    "a license that is none of SPDX": {"sources": [{**SOURCE, "license": "other"}]},
    "no license": {"sources": [{**SOURCE, "license": None}]},
    "facts of another form": {"steps": [{**BUILT["validate"], "facts": {"metrics": 7, "thresholds": [1]}}]},
    "no numbers": {"steps": [{**BUILT["validate"], "facts": {"metrics": {"cosine_mean": "high"}}}]},
    "an odd repository": {"sources": [{**SOURCE, "repository": "ü/ö d@x", "commit": "main"}]},
    "random weights": {"sources": [{"step": "m:fetch", "kind": "random", "architecture": "bert", "license": None}]},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_any_account_gives_documents_that_agree_with_their_specs(tmp_path, capsys, schema, changes):
    folder = folder_with(tmp_path / "f", **changes)
    assert [error.message for error in schema.iter_errors(document(capsys, folder))] == []
    assert is_statement(document(capsys, folder, "--format", "slsa"))


def is_statement(value):
    """Whether the library of in-toto accepts a statement."""
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    parsed = json_format.ParseDict(value, statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    return parsed.predicate_type == "https://slsa.dev/provenance/v1"


def test_the_bill_has_the_model_its_sources_and_its_packages(tmp_path, capsys):
    bill = document(capsys, folder_with(tmp_path / "f"))
    model = bill["metadata"]["component"]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["modelCard"]["modelParameters"] == {
        "task": "feature-extraction", "architectureFamily": "bert", "datasets": [{"ref": "dataset:reviews"}],
    }  # fmt: skip
    limits = model["modelCard"]["considerations"]["technicalLimitations"]
    assert limits == ["validated against torch within these bounds: cosine_mean >= 0.99"]
    (metric,) = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metric == {"type": "cosine_mean", "value": "0.998", "slice": "dataset reviews"}
    hashes = {one["name"]: {h["alg"]: h["content"] for h in one["hashes"]} for one in model["components"]}
    assert hashes.keys() == {*FILES, PROVENANCE}
    assert {name: hashes[name]["SHA-256"] for name in FILES} == {name: sha256(data) for name, data in FILES.items()}
    parts = {one["bom-ref"]: one for one in bill["components"]}
    assert parts.keys() == {
        "source:m:fetch", "dataset:reviews", "pkg:pypi/onnxruntime@1.31.1", "pkg:pypi/torch@2.13.0%2Bcpu",
    }  # fmt: skip
    assert parts["source:m:fetch"]["purl"] == f"pkg:huggingface/org/tiny@{'0' * 40}"
    assert parts["pkg:pypi/torch@2.13.0%2Bcpu"]["version"] == "2.13.0+cpu"


def test_the_statement_has_the_files_the_params_and_what_was_read(tmp_path, capsys):
    folder = folder_with(tmp_path / "f")
    made = document(capsys, folder, "--format", "slsa", "--builder", "https://ci.example/runner")
    account = (folder / PROVENANCE).read_bytes()
    wanted = {**{name: sha256(data) for name, data in FILES.items()}, PROVENANCE: sha256(account)}
    assert {one["name"]: one["digest"]["sha256"] for one in made["subject"]} == wanted
    definition, details = made["predicate"]["buildDefinition"], made["predicate"]["runDetails"]
    steps = definition["externalParameters"]["steps"]
    assert [one["params"] for one in steps] == [BUILT["fetch"]["params"], BUILT["validate"]["params"]]
    source, rows, *packages = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": "0" * 40, "onnxbuildTree": "b" * 64}
    assert rows["digest"] == {"gitCommit": "1" * 40, "onnxbuildTree": "d" * 64}
    assert [one["uri"] for one in packages] == ["pkg:pypi/onnxruntime@1.31.1", "pkg:pypi/torch@2.13.0%2Bcpu"]
    assert details["builder"]["id"] == "https://ci.example/runner"


def test_documents_of_equal_folders_are_equal(tmp_path, capsys):
    one, two = folder_with(tmp_path / "one"), folder_with(tmp_path / "two")
    for format_ in ("cyclonedx", "slsa"):
        assert document(capsys, one, "--format", format_) == document(capsys, two, "--format", format_)


def test_a_folder_that_differs_gets_no_document(tmp_path, capsys):
    folder = folder_with(tmp_path / "f")
    (folder / "model.onnx").write_bytes(b"other")
    assert run_command(["provenance", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert (out, err[:6]) == ("", "OB751 ")


def test_a_document_may_lie_in_the_folder_itself(tmp_path, capsys):
    folder = folder_with(tmp_path / "f")
    for name, format_ in (("bom.cdx.json", "cyclonedx"), ("slsa.intoto.json", "slsa")):
        assert run_command(["provenance", str(folder), "--format", format_, "--output", str(folder / name)]) == 0
    assert run_command(["verify", str(folder)]) == 0
    assert json.loads((folder / "bom.cdx.json").read_text())["bomFormat"] == "CycloneDX"


def test_a_builder_is_part_of_a_statement_only(tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run_command(["provenance", str(tmp_path), "--builder", "urn:x"])
    assert stopped.value.code == 2
