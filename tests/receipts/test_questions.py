"""Every option is part of the question that a receipt answers, or is listed here with the reason why it need not be."""

import os

import pytest

from onnxbuild.commands.parsing.options import Asked, RunOptions
from onnxbuild.commands.run import question_of

BASE = RunOptions(asked=Asked("m.yaml"))
WITHOUT_EFFECT = {
    "dry_run": "answers no receipt",
    "force": "asks for no receipt",
    "prune": "asks for no receipt",
    "quiet": "prints the last line of the same answer",
    "verbose": "asks for no receipt",
    "profile": "written only by a build",
    "against": "compares after an ordinary run, and leaves it its receipt",
    "jobs": "changes no result",
    "fail_fast": "a receipt is about a build without failures",
    "timeout_seconds": "a receipt is about a build without failures",
}
CHANGES = {
    "as_json": True,
    "out": "elsewhere",
    "revalidate": True,
}
CHANGES_OF_ASKED = {
    "manifest": "n.yaml",
    "selectors": ("m",),
    "defines": (("name", "value"),),
    "store": "elsewhere",
    "remote": "file:///elsewhere",
    "remote_readonly": True,
    "offline": True,
    "trust": ("ci:AAAA",),
    "allow_paths": ("elsewhere",),
    "allow_env": ("TOKEN",),
    "publish": True,
}


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ONNXBUILD_STORE", "ONNXBUILD_REMOTE"):
        monkeypatch.delenv(name, raising=False)


def test_every_option_is_in_the_question_or_has_no_effect():
    assert {"asked", *CHANGES, *WITHOUT_EFFECT} == set(RunOptions._fields)
    # `out` of `Asked` is a copy of that of `RunOptions`, which a build makes.
    # `change` is what `compare-exporters` makes of a manifest, which leaves no receipt.
    # `check_published` asks the destination whatever a receipt says.
    assert {"out", "change", "check_published", *CHANGES_OF_ASKED} == set(Asked._fields)


@pytest.mark.parametrize("name", CHANGES)
def test_an_option_changes_the_question(name):
    assert question_of(BASE) == question_of(BASE)
    assert question_of(BASE._replace(**{name: CHANGES[name]})) != question_of(BASE)


@pytest.mark.parametrize("name", CHANGES_OF_ASKED)
def test_an_option_that_commands_share_changes_the_question(name):
    asked = BASE.asked._replace(**{name: CHANGES_OF_ASKED[name]})
    assert question_of(BASE._replace(asked=asked)) != question_of(BASE)


@pytest.mark.parametrize("name", ["ONNXBUILD_STORE", "ONNXBUILD_REMOTE"])
def test_a_variable_that_stands_for_an_option_changes_the_question(monkeypatch, name):
    before = question_of(BASE)
    monkeypatch.setenv(name, "/elsewhere")
    assert question_of(BASE) != before


@pytest.mark.parametrize("asked", [BASE.asked._replace(store="s"), BASE.asked._replace(remote="r")])
def test_a_relative_place_counts_with_the_working_folder(tmp_path, monkeypatch, asked):
    options = BASE._replace(asked=asked._replace(manifest=str(tmp_path / "m.yaml")))
    before = question_of(options)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert question_of(options) != before


def test_the_target_of_a_linked_manifest_counts(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text("")
    (tmp_path / "m.yaml").symlink_to("one")
    before = question_of(BASE)
    (tmp_path / "m.yaml").unlink()
    (tmp_path / "m.yaml").symlink_to("two")
    assert question_of(BASE) != before


def test_the_question_holds_no_secret():
    asked = BASE.asked._replace(defines=(("token", "hf_secret"),), remote="https://user:hf_secret@host/store")
    assert "hf_secret" not in repr(question_of(BASE._replace(asked=asked)))


def test_values_that_are_not_text_can_be_asked_about():
    odd = os.fsdecode(b"\xff")
    asked = BASE.asked._replace(defines=(("name", odd),), remote=odd)
    assert question_of(BASE._replace(asked=asked)) != question_of(BASE)
