"""What a manifest can reach: paths below its folder, judged by where links lead, and what the user permits."""

import json
import os

import pytest

from onnxbuild.commands.lint import lint
from onnxbuild.machine import Machine
from onnxbuild.permissions import Permissions
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
HEAD = "onnxbuild: 1\ntargets: {fp32: {}}\n"
MODEL = "models: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}\n"
CONFIG = '{"model_type": "bert", "architectures": ["BertForMaskedLM"]}'


class World:
    """A folder with a manifest, and another one beside it that belongs to somebody else."""

    def __init__(self, root):
        self.inside, self.outside = root / "inside", root / "outside"
        for folder in (self.inside, self.outside):
            folder.mkdir()
        (self.outside / "secret.txt").write_text("root:x:0:0:root\n")

    def faults(self, text, *, permit=(), environment=()):
        (self.inside / "m.yaml").write_text(text)
        permitted = Permissions(tuple(os.path.realpath(path) for path in permit), tuple(environment))
        found = lint(str(self.inside / "m.yaml"), MACHINE, kinds=KINDS, permissions=permitted)
        return [one for one in found if one.severity == "error"]

    def codes(self, text, **more):
        return [one.code for one in self.faults(text, **more)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG)
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).write_text("x")
    return folder


def onnx_model(folder):
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text("x")
    return folder


def source(text, more=""):
    return f'{HEAD}models: {{m: {{source: "{text}", task: fill-mask, targets: [fp32]{more}}}}}\n'


# Every part of a manifest that names a path: the text, what must be in the folder that it names, and the permission.
def local(world, folder):
    checkpoint(folder / "bert")
    return source(f"local:{os.path.relpath(folder / 'bert', world.inside)}")


def onnx_file(world, folder):
    onnx_model(folder / "graph")
    return source(f"onnx:{os.path.relpath(folder / 'graph' / 'model.onnx', world.inside)}")


def onnx_folder(world, folder):
    onnx_model(folder / "graph")
    return source(f"onnx:{os.path.relpath(folder / 'graph', world.inside)}")


def dataset(world, folder):
    (folder / "rows.jsonl").write_text('{"text": "hello"}\n')
    path = os.path.relpath(folder / "rows.jsonl", world.inside)
    return HEAD + f'datasets: {{d: {{source: "file:{path}"}}}}\n' + MODEL


def tokenizer(world, folder):
    (folder / "corpus.txt").write_text("hello\n")
    path = os.path.relpath(folder / "corpus.txt", world.inside)
    text = f'{{random: gpt2, tokenizer: {{text: "file:{path}"}}}}'
    return f"{HEAD}models: {{m: {{source: {text}, task: text-generation, targets: [fp32]}}}}\n"


def include(world, folder):
    (folder / "more.yaml").write_text("vars: {x: 1}\n")
    return f"{HEAD}include: {os.path.relpath(folder / 'more.yaml', world.inside)}\n{MODEL}"


def exporter(world, folder):
    (folder / "mine.py").write_text("def export(**_): ...\n")
    path = os.path.relpath(folder / "mine.py", world.inside)
    return source("random:bert", f', export: {{exporter: "{path}:export"}}')


def interpreter(world, folder):
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to("/usr/bin/env")
    path = os.path.relpath(folder / "bin" / "python", world.inside)
    return HEAD + f"toolchains: {{t: {{python: {path}}}}}\n" + MODEL.replace("task:", "toolchain: t, task:")


PARTS = [local, onnx_file, onnx_folder, dataset, tokenizer, include, exporter, interpreter]


@pytest.mark.parametrize("part", PARTS)
def test_a_path_below_the_folder_is_read(world, part):
    (world.inside / "below").mkdir()
    assert world.codes(part(world, world.inside / "below")) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_path_outside_is_a_fault(world, part):
    assert world.codes(part(world, world.outside)) == ["OB060"]


@pytest.mark.parametrize("part", PARTS)
def test_the_hint_is_what_permits_the_path(world, part):
    text = part(world, world.outside)
    (problem,) = world.faults(text)
    permit = problem.notes[0][1].partition("`--allow-path ")[2].partition("`")[0]
    assert world.codes(text, permit=[permit]) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_that_is_a_link_counts_where_it_leads(world, part):
    (world.inside / "below").symlink_to(world.outside)
    assert world.codes(part(world, world.inside / "below")) == ["OB060"]


@pytest.mark.parametrize("part", PARTS)
def test_whether_a_path_outside_exists_makes_no_difference(world, part):
    text = part(world, world.outside)
    (there,) = world.faults(text)
    world.outside.rename(world.outside.with_name("elsewhere"))
    (gone,) = world.faults(text)
    assert (there.code, there.message) == (gone.code, gone.message)


@pytest.mark.parametrize("part", [part for part in PARTS if part is not interpreter])
def test_a_file_that_is_a_link_counts_where_it_leads(world, part):
    (world.inside / "below").mkdir()
    text = part(world, world.inside / "below")
    files = [path for path in (world.inside / "below").rglob("*") if path.is_file()]
    for path in files:
        path.rename(world.outside / path.name)
        path.symlink_to(world.outside / path.name)
    assert set(world.codes(text)) == {"OB060"}


def test_an_included_file_shows_none_of_its_text(world):
    (problem,) = world.faults(f"{HEAD}include: ../outside/secret.txt\n{MODEL}")
    assert problem.code == "OB060"
    assert problem.span.source.path.endswith("m.yaml")
    assert "root:x" not in problem.message


def test_a_dataset_outside_shows_none_of_its_columns(world):
    (world.outside / "rows.jsonl").write_text('{"secret": 1}\n')
    text = (
        HEAD
        + 'datasets: {d: {source: "file:../outside/rows.jsonl"}}\n'
        + MODEL.replace("task:", "validate: {dataset: d}, task:")
    )
    assert "secret" not in " ".join(
        word for one in world.faults(text) for word in (one.message, *(note for _, note in one.notes))
    )


def test_the_folder_of_a_manifest_may_itself_be_reached_through_a_link(world, tmp_path):
    checkpoint(world.inside / "bert")
    (tmp_path / "link").symlink_to(world.inside)
    (world.inside / "m.yaml").write_text(source("local:bert"))
    assert lint(str(tmp_path / "link" / "m.yaml"), MACHINE, kinds=KINDS, permissions=Permissions()) == []


def test_a_tilde_leads_home(world, monkeypatch):
    monkeypatch.setenv("HOME", str(world.outside))
    checkpoint(world.outside / "bert")
    assert world.codes(source("local:~/bert")) == ["OB060"]


def test_what_an_included_file_names_is_outside_too(world):
    (world.inside / "sub").mkdir()
    checkpoint(world.outside / "bert")
    (world.inside / "sub" / "more.yaml").write_text(source("local:../../outside/bert").replace("onnxbuild: 1\n", ""))
    assert world.codes("onnxbuild: 1\ninclude: sub/more.yaml\n") == ["OB060"]


def test_a_path_within_a_package_stays_in_it(world):
    assert world.codes(source("package:json/../../../etc")) == ["OB060"]
    assert world.codes(source("package:json/../json")) == ["OB027"]  # it has no weights


# -- links in model folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["merges.txt", "tokenizer.json", "config.json", "1_Pooling/config.json"])
def test_a_link_that_leaves_its_model_folder_is_a_fault(world, name):
    path = checkpoint(world.inside / "bert") / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(world.outside / "secret.txt")
    (problem,) = world.faults(source("local:bert"))
    assert problem.code == "OB060"
    assert problem.message.startswith(f"`{name}` is a link that leads out of the model folder, to `")


def test_a_link_that_leaves_its_model_folder_within_the_manifest_s_is_a_fault(world):
    (world.inside / ".env").write_text("TOKEN=1")
    path = checkpoint(world.inside / "bert") / "merges.txt"
    path.symlink_to("../.env")
    assert world.codes(source("local:bert")) == ["OB060"]
    assert world.codes(source("local:bert"), permit=[world.inside / ".env"]) == []


def test_a_folder_in_a_model_that_is_a_link_counts_where_it_leads(world):
    path = checkpoint(world.inside / "bert") / "1_Pooling"
    (world.outside / "config.json").write_text("{}")
    path.symlink_to(world.outside)
    assert world.codes(source("local:bert")) == ["OB060"]


def test_a_link_within_a_model_folder_is_followed(world):
    path = checkpoint(world.inside / "bert")
    (path / "model.safetensors").rename(path / "weights")
    (path / "model.safetensors").symlink_to("weights")
    assert world.codes(source("local:bert")) == []


def test_external_data_that_is_a_link_is_a_fault(world):
    path = onnx_model(world.inside / "graph")
    (path / "model.onnx_data").symlink_to(world.outside / "secret.txt")
    assert world.codes(source("onnx:graph/model.onnx")) == ["OB060"]


@pytest.mark.parametrize("target", ["nowhere", "tokenizer.json"])
def test_links_that_lead_nowhere_or_round_are_no_files(world, target):
    path = checkpoint(world.inside / "bert")
    (path / "tokenizer.json").unlink()
    (path / "tokenizer.json").symlink_to(target)
    assert world.codes(source("local:bert")) == []  # without a tokenizer, which is only a warning


def hub_cache(root):
    """A snapshot as huggingface_hub lays it out."""
    snapshot = checkpoint(root / "models--org--bert" / "snapshots" / ("0" * 40))
    blobs = root / "models--org--bert" / "blobs"
    blobs.mkdir()
    for path in list(snapshot.iterdir()):
        path.rename(blobs / f"digest-of-{path.name}")
        path.symlink_to(f"../../blobs/digest-of-{path.name}")
    return snapshot


def test_links_of_the_hub_s_cache_are_followed(world):
    snapshot = hub_cache(world.inside / "hub")
    assert world.codes(source(f"local:{snapshot.relative_to(world.inside)}")) == []


def test_a_cache_outside_needs_a_permission(world):
    snapshot = hub_cache(world.outside / "hub")
    text = source(f"local:{snapshot}")
    assert world.codes(text) == ["OB060"]
    assert world.codes(text, permit=[snapshot]) == []


def test_a_link_out_of_the_hub_s_cache_is_a_fault(world):
    snapshot = hub_cache(world.inside / "hub")
    blob = world.inside / "hub" / "models--org--bert" / "blobs" / "digest-of-tokenizer.json"
    blob.unlink()
    blob.symlink_to(world.outside / "secret.txt")
    assert world.codes(source(f"local:{snapshot.relative_to(world.inside)}")) == ["OB060"]


def test_a_link_into_another_repository_s_cache_is_a_fault(world):
    snapshot = hub_cache(world.inside / "hub")
    other = world.inside / "hub" / "models--org--private" / "blobs" / "1"
    other.parent.mkdir(parents=True)
    other.write_text("x")
    (snapshot / "merges.txt").symlink_to(other)
    assert world.codes(source(f"local:{snapshot.relative_to(world.inside)}")) == ["OB060"]


# -- what is no regular file ------------------------------------------------------------------------------------------

needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")


@needs_fifo
@pytest.mark.parametrize("name", ["m.yaml", "more.yaml", "onnxbuild.lock"])
def test_a_fifo_is_not_waited_for(world, name):
    text = HEAD + ("include: more.yaml\n" if name == "more.yaml" else "") + MODEL
    if name == "m.yaml":
        os.mkfifo(world.inside / "m.yaml")
        found = lint(str(world.inside / "m.yaml"), MACHINE, kinds=KINDS)
    else:
        os.mkfifo(world.inside / name)
        found = world.faults(text)
    assert ["is a FIFO, not a regular file" in one.message for one in found] == [True]


@needs_fifo
@pytest.mark.parametrize(
    "text",
    [
        source("onnx:fifo"),
        source("random:bert", ', export: {exporter: "fifo.py:export"}'),
        HEAD + 'datasets: {d: {source: "file:fifo.jsonl"}}\n' + MODEL,
        source("local:bert"),
    ],
)
def test_a_fifo_is_no_source(world, text):
    folder = checkpoint(world.inside / "bert")
    (folder / "model.safetensors").unlink()
    for path in (world.inside / "fifo", world.inside / "fifo.py", world.inside / "fifo.jsonl"):
        os.mkfifo(path)
    os.mkfifo(folder / "model.safetensors")
    assert world.codes(text)[0] in {"OB016", "OB027"}


def test_a_device_is_no_manifest():
    (problem,) = lint(os.devnull, MACHINE, kinds=KINDS)
    assert (problem.code, problem.message) == ("OB016", f"`{os.devnull}` is a device, not a regular file")


def test_a_lock_file_that_is_a_link_is_not_read(world):
    (world.outside / "other.lock").write_text("{}")
    (world.inside / "onnxbuild.lock").symlink_to(world.outside / "other.lock")
    (problem,) = world.faults(HEAD + MODEL)
    assert problem.code == "OB031"
    assert problem.message.endswith("onnxbuild.lock` is a symbolic link")


def test_a_huge_lock_file_is_not_read(world):
    with open(world.inside / "onnxbuild.lock", "wb") as file:
        file.truncate(3 << 30)
    (problem,) = world.faults(HEAD + MODEL)
    assert problem.code == "OB031"
    assert problem.message.endswith("is larger than 10485760 bytes")


@pytest.mark.parametrize("names", [["../x.jsonl"], ["/etc/x.jsonl"], ["a/../../x.jsonl"], ["a\\..\\x"], ["a\nb"], [""]])
def test_a_lock_file_names_only_files_below_the_repository(world, names):
    entry = {"commit": "0" * 40, "files": names}
    lock = {"version": 1, "sources": {"hub:datasets/org/rows@main": entry}}
    (world.inside / "onnxbuild.lock").write_text(json.dumps(lock))
    assert world.codes(HEAD + MODEL) == ["OB031"]


# -- the environment --------------------------------------------------------------------------------------------------


def store(remote):
    return HEAD + MODEL + f'store: {{remote: "{remote}"}}\n'


@pytest.fixture
def secrets(monkeypatch):
    monkeypatch.setenv("TOKEN", "hush")
    monkeypatch.setenv("ODD", "a@b/c")


def test_a_tilde_in_the_path_of_an_interpreter_is_the_home_folder(world, monkeypatch):
    python = HEAD + "toolchains: {t: {python: ~/env/bin/python}}\n" + MODEL.replace("task:", "toolchain: t, task:")
    monkeypatch.setenv("HOME", str(world.inside.parent / "elsewhere"))
    assert "OB060" in world.codes(python)
    monkeypatch.setenv("HOME", str(world.inside))
    assert "OB060" not in world.codes(python)


@pytest.mark.usefixtures("secrets")
class TestEnvironment:
    """`${env.X}` under `store:`."""

    def test_a_variable_that_nobody_permits_is_a_fault_without_its_value(self, world):
        (problem,) = world.faults(store("s3://${env.TOKEN}@bucket"))
        assert problem.code == "OB061"
        assert problem.message == "the manifest may not read the environment variable `TOKEN`"
        assert problem.notes == (
            ("hint", "permit it with `--allow-env TOKEN`, if you know where the manifest sends it"),
        )

    def test_whether_it_is_set_makes_no_difference(self, world):
        unset = world.faults(store("s3://${env.NOT_SET}@bucket"))
        assert [one.code for one in unset] == ["OB061"]

    @pytest.mark.parametrize("name", ["TOKEN", "TOK*", "*"])
    @pytest.mark.parametrize(
        "remote",
        [
            "s3://${env.TOKEN}@bucket/x",
            "webdavs://ci:${env.TOKEN}@example.org/x",
            "webdavs://${env.TOKEN}:${env.TOKEN}@example.org",
            "webdavs://example.org/x?token=${env.TOKEN}",
            "webdavs://${env.TOKEN}@example.org/x?a=1&b=${env.TOKEN}",
        ],
    )
    def test_credentials_may_come_from_a_permitted_variable(self, world, remote, name):
        assert world.codes(store(remote), environment=[name]) == []

    @pytest.mark.parametrize(
        "remote",
        [
            "${env.TOKEN}",
            "${env.TOKEN}://bucket",
            "s3://${env.TOKEN}",
            "s3://${env.TOKEN}/x",
            "s3://ci@${env.TOKEN}.example.org/x",
            "s3://ci@example.org:${env.TOKEN}/x",
            "s3://bucket/${env.TOKEN}/x",
            "s3://bucket/x#${env.TOKEN}",
            "s3://bucket/@${env.TOKEN}@x",
            "s3://bucket?x#${env.TOKEN}@y",
            "https://evil.example\\\\@${env.TOKEN}@example.org",
            "folder/${env.TOKEN}",
        ],
    )
    def test_no_other_part_of_an_address_may(self, world, remote):
        problems = world.faults(store(remote), environment=["TOKEN"])
        assert "OB061" in {one.code for one in problems}
        assert not any("hush" in f"{one.message} {one.notes}" for one in problems)

    def test_the_path_of_the_store_may_not(self, world):
        (problem,) = world.faults(
            store("s3://b").replace("remote", 'path: "s/${env.TOKEN}", remote'), environment=["TOKEN"]
        )
        assert problem.code == "OB061"

    def test_a_variable_may_not_make_the_address_another_one(self, world):
        (problem,) = world.faults(store("webdavs://${env.ODD}@example.org"), environment=["ODD"])
        assert problem.message == "the value of `ODD` has a character with a meaning in a URL"
        assert "a@b" not in str(problem)

    def test_a_variable_of_the_manifest_cannot_hide_the_place(self, world):
        text = store("${vars.a}${env.TOKEN}.example.org").replace(
            "onnxbuild: 1\n", 'onnxbuild: 1\nvars: {a: "s3://"}\n'
        )
        assert world.codes(text, environment=["TOKEN"]) == ["OB061"]

    def test_it_stays_forbidden_elsewhere(self, world):
        assert world.codes(source("hub:org/${env.TOKEN}"), environment=["TOKEN"]) == ["OB025"]
