"""What the user permits, and the user's configuration file with its faults."""

import os

import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.permissions import Permissions, UserConfig, config_stamp, is_below, permissions, user_config
from onnxbuild.report.render_diagnostics import render


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH", raising=False)
    path = tmp_path / "config" / "onnxbuild" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_without_a_file_nothing_is_permitted(config):
    assert user_config() == UserConfig()
    assert permissions() == Permissions()
    assert config_stamp() is None


def test_permissions_come_from_three_places(config, tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    config.write_text('allow_paths = ["~/models"]\nallow_env = ["S3_*"]\n', encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ONNXBUILD_ALLOW_PATH", f"{tmp_path / 'a'}{os.pathsep}{os.pathsep}{tmp_path / 'b'}")
    given = permissions([str(tmp_path / "link")], ["TOKEN"])
    real = os.path.realpath(tmp_path)
    assert given.paths == tuple(os.path.join(real, name) for name in ("real", "a", "b", "models"))
    assert given.environment == ("TOKEN", "S3_*")


def test_a_path_is_permitted_with_what_is_below_it():
    given = Permissions(paths=("/data",))
    wanted = {"/data": True, "/data/x": True, "/database": False, "/": False}
    assert {path: given.permits_path(path) for path in wanted} == wanted
    assert is_below("/anything", "/")


def test_a_star_at_the_end_of_a_name_stands_for_any_rest():
    given = Permissions(environment=("S3_*", "TOKEN"))
    wanted = {"S3_KEY": True, "S3_": True, "TOKEN": True, "TOKEN2": False, "MY_S3_KEY": False}
    assert {name: given.permits_variable(name) for name in wanted} == wanted


def test_a_star_alone_permits_every_variable():
    assert Permissions(environment=("*",)).permits_variable("ANY")


def test_a_relative_folder_of_configuration_is_ignored(tmp_path, monkeypatch):
    (tmp_path / "onnxbuild").mkdir()
    (tmp_path / "onnxbuild" / "config.toml").write_text('allow_env = ["*"]\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")
    assert user_config() == UserConfig()


def test_the_file_may_be_a_link(config, tmp_path):
    (tmp_path / "dotfiles.toml").write_text('allow_env = ["A"]\n', encoding="utf-8")
    config.symlink_to(tmp_path / "dotfiles.toml")
    assert user_config().allow_env == ("A",)


def test_the_stamp_changes_with_the_content(config):
    config.write_text('allow_env = ["A"]\n', encoding="utf-8")
    before = config_stamp()
    config.write_text('allow_env = ["A", "B"]\n', encoding="utf-8")
    assert before != config_stamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"allow_paths = [", "OB063 not valid TOML: invalid value\n --> {path}:1:1\n"),
        (b"\nallow_paths = no", "OB063 not valid TOML: invalid value\n --> {path}:2:15\n"),
        (b"\xff", "OB063 `{path}` is not UTF-8\n --> {path}:1:1\n"),
        (b'\nallow_path = ["/a"]\n', "OB063 unknown key `allow_path`\n --> {path}:2:1\n"),
        (b'allow_paths = "/a"\n', "OB063 `allow_paths`: expected a list of strings\n --> {path}:1:1\n"),
        (b"allow_env = [1]\n", "OB063 `allow_env`: expected a list of strings\n --> {path}:1:1\n"),
        (b"sign = 1\n", "OB063 `sign`: expected a string\n --> {path}:1:1\n"),
        (b'\nsign = "a.key"\n', "OB063 `a.key` is not an absolute path\n --> {path}:2:1\n"),
        (b'trust = ["a"]\nallow_paths = ["a"]\n', "OB063 `a` is not an absolute path\n --> {path}:2:1\n"),
    ],
)
def test_faults_of_the_file(config, text, expected):
    config.write_bytes(text)
    with pytest.raises(DiagnosticError) as raised:
        user_config()
    assert render(raised.value.diagnostics, "text").startswith(expected.format(path=config))


def test_a_fault_names_the_key_that_was_probably_meant(config):
    config.write_text('allow_path = ["/a"]\n', encoding="utf-8")
    with pytest.raises(DiagnosticError, match="unknown key") as raised:
        user_config()
    assert raised.value.diagnostics[0].notes == (("hint", "did you mean `allow_paths`?"),)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_not_waited_for(config):
    os.mkfifo(config)
    with pytest.raises(DiagnosticError, match="is a FIFO, not a regular file"):
        user_config()
