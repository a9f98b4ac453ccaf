import pytest

from onnxbuild.commands.lock import run_lock
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.lock_file import lock_for, read_lock, write_lock
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.steps import KINDS

TEXT = """onnxbuild: 1
targets: {fp32: {}}
models:
  a: {source: 'hub:o/a', task: fill-mask, targets: [fp32]}
  b: {source: 'hub:o/b@v1', task: fill-mask, targets: [fp32]}
  again: {source: 'hub:o/a@main', task: fill-mask, targets: [fp32]}
  local: {source: random:bert, task: fill-mask, targets: [fp32]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(TEXT)
    return tmp_path


class Resolver:
    def __init__(self):
        self.asked, self.moved = [], 0

    def __call__(self, repo, revision):
        self.asked.append((repo, revision))
        if repo == "o/gone":
            raise DiagnosticError(fault("OB110", f"no {repo}"))
        return LockedSource(f"{repo[-1]}{self.moved}", ("config.json", "model.safetensors"), {"model_type": "bert"})


def manifest():
    return load_manifest("m.yaml", kinds=KINDS)


def codes(error):
    return [(one.code, one.message, str(one.span)) for one in error.value.diagnostics]


def test_it_is_written_at_first_need(folder):
    resolve = Resolver()
    lock = lock_for(manifest(), resolve=resolve)
    assert resolve.asked == [("o/a", "main"), ("o/b", "v1")]
    assert read_lock(folder / "onnxbuild.lock") == lock
    assert lock_for(manifest(), resolve=None) == lock
    assert lock_for(manifest(), offline=True) == lock


def test_its_text(folder):
    lock_for(manifest(), resolve=Resolver())
    assert (folder / "onnxbuild.lock").read_text() == (
        '{\n "sources": {\n  "hub:o/a@main": {\n   "commit": "a0",\n   "config": {\n    "model_type": "bert"\n   },\n'
        '   "files": [\n    "config.json",\n    "model.safetensors"\n   ]\n  },\n'
        '  "hub:o/b@v1": {\n   "commit": "b0",\n   "config": {\n    "model_type": "bert"\n   },\n'
        '   "files": [\n    "config.json",\n    "model.safetensors"\n   ]\n  }\n },\n "version": 1\n}\n'
    )
    assert sorted(path.name for path in folder.iterdir()) == ["m.yaml", "onnxbuild.lock"]


def test_offline(folder):
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), offline=True)
    assert codes(raised) == [
        ("OB111", "`hub:o/a` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:4:15"),
        ("OB111", "`hub:o/b@v1` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:5:15"),
        ("OB111", "`hub:o/a@main` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:6:19"),
    ]


def test_a_plan_asks_nobody(folder):
    assert lock_for(manifest(), write=False, resolve=None) == Lock()
    assert not (folder / "onnxbuild.lock").exists()


def test_what_cannot_be_resolved_has_its_place_and_nothing_is_written(folder):
    (folder / "m.yaml").write_text(TEXT + "  gone: {source: 'hub:o/gone', task: fill-mask, targets: [fp32]}\n")
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), resolve=Resolver())
    assert codes(raised) == [("OB110", "no o/gone", "m.yaml:8:18")]
    assert not (folder / "onnxbuild.lock").exists()


def test_the_command(folder, capsys):
    resolve = Resolver()
    assert run_lock("m.yaml", resolve=resolve) == 0
    assert capsys.readouterr() == ("hub:o/a@main is a0\nhub:o/b@v1 is b0\n", "onnxbuild.lock: 2 sources pinned\n")
    resolve.moved = 1
    assert run_lock("m.yaml", resolve=resolve) == 0
    assert capsys.readouterr().out == ""
    assert run_lock("m.yaml", upgrade=["a"], resolve=resolve) == 0
    assert capsys.readouterr().out == "hub:o/a@main moved: a0 → a1\n"
    assert run_lock("m.yaml", upgrade=[], resolve=resolve) == 0
    assert capsys.readouterr().out == "hub:o/b@v1 moved: b0 → b1\n"


def test_upgrading_an_unknown_model(folder):
    with pytest.raises(DiagnosticError) as raised:
        run_lock("m.yaml", upgrade=["agian"], resolve=Resolver())
    assert codes(raised) == [("OB018", "`--upgrade agian` names no model and no dataset", "None")]


def test_entries_of_other_manifests_stay(folder):
    write_lock(folder / "onnxbuild.lock", Lock(sources={"hub:z/z@main": LockedSource("z")}))
    assert set(lock_for(manifest(), resolve=Resolver()).sources) == {"hub:z/z@main", "hub:o/a@main", "hub:o/b@v1"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<<<<<<< ours\n", "JSON is malformed: invalid character (byte 0)"),
        ('{"version": 2}', "version 2, expected 1"),
        ('{"sources": {"a": {}}}', "missing required field `commit`"),
    ],
)
def test_a_damaged_file(folder, text, reason):
    (folder / "onnxbuild.lock").write_text(text)
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest())
    assert raised.value.diagnostics[0].code == "OB031"
    assert reason in raised.value.diagnostics[0].message
