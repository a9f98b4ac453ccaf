"""State that came with a checkout is not believed, and no command writes or deletes outside what is the user's."""

import json
import os
import shutil
import signal
import struct
import subprocess
import time

import pytest

from onnxbuild.cli import run_command

READING = [
    ["plan", "m.yaml"],
    ["run", "-n", "m.yaml"],
    ["graph", "m.yaml"],
    ["status", "m.yaml"],
    ["explain", "m/fp32", "-m", "m.yaml"],
    ["logs", "m:fetch", "-m", "m.yaml"],
]
WRITING = [["run", "m.yaml"], ["gc", "m.yaml"], ["cache", "stats", "m.yaml"], ["cache", "verify", "m.yaml"]]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A checkout with one ONNX model, which a run only copies."""
    root = tmp_path / "checkout"
    (root / "model").mkdir(parents=True)
    (root / "model" / "model.onnx").write_text("x")
    monkeypatch.chdir(root)
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH")
    write()
    return root


@pytest.fixture
def alarm():
    """A test that waits for ever fails instead."""

    def ring(_signal, _frame):
        raise AssertionError("waited for 60 seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def write(**more):
    models = {"m": {"source": "onnx:model", "load": False, "targets": ["fp32"]}}
    with open("m.yaml", "w", encoding="utf-8") as file:
        json.dump({"onnxbuild": 1, "targets": {"fp32": {}}, "models": models, **more}, file)
    time.sleep(0.05)  # a manifest that changed at the moment in which its run began leaves no receipt


def built():
    assert run_command(["run", "m.yaml"]) == 0


def track(root, *paths):
    """An index of git with these paths, as `git add --force` leaves it."""
    entries = b""
    for path in sorted(path.encode() for path in paths):
        entry = bytes(60) + struct.pack(">H", len(path)) + path
        entries += entry + bytes(8 - len(entry) % 8)
    (root / ".git").mkdir()
    (root / ".git" / "index").write_bytes(b"DIRC" + struct.pack(">II", 2, len(paths)) + entries + bytes(20))


def everything_in(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- a checkout that carries state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*READING, *WRITING], ids=lambda words: " ".join(words[:2]))
def test_state_that_git_tracks_is_refused(world, capsys, command):
    built()
    track(world, ".onnxbuild/last", "m.yaml")
    capsys.readouterr()
    before = everything_in(world)
    assert run_command(command) == 2
    error = capsys.readouterr().err
    assert "OB062 `.onnxbuild` is tracked by git, so that it came with the checkout" in error
    assert "remove it, or name a store of your own with `--store DIR`" in error
    assert everything_in(world) == before


def test_a_receipt_that_git_tracks_does_not_answer(world):
    built()
    assert run_command(["run", "m.yaml"]) == 0
    track(world, ".onnxbuild/receipts/x.json")
    assert run_command(["run", "m.yaml"]) == 2


def test_what_git_does_not_track_is_believed(world, capsys):
    built()
    track(world, "m.yaml", "model/model.onnx", "other/.onnxbuild/last")
    assert run_command(["run", "m.yaml"]) == 0
    assert "up to date" in capsys.readouterr().out


def test_with_a_store_of_ones_own_nothing_of_it_is_read_or_written(world, tmp_path, capsys):
    built()
    track(world, ".onnxbuild/last")
    state = everything_in(world / ".onnxbuild")
    for blob in (world / ".onnxbuild" / "store" / "blobs").rglob("*"):
        assert not blob.is_file() or os.access(blob, os.R_OK)
    capsys.readouterr()
    mine = ["--store", str(tmp_path / "mine")]
    assert run_command(["run", "m.yaml", *mine]) == 0
    assert "built 1" in capsys.readouterr().out
    assert everything_in(world / ".onnxbuild") == state
    assert (tmp_path / "mine" / "logs").is_dir()
    assert run_command(["plan", "m.yaml", *mine]) == 0


@pytest.mark.parametrize(
    "name", [".", "store", "logs", "last", "receipts", "store/traces.db", "store/blobs", "store/work"]
)
@pytest.mark.parametrize("command", [READING[0], WRITING[0], WRITING[1]], ids=lambda words: words[0])
def test_a_link_in_the_state_is_refused(world, tmp_path, capsys, name, command):
    built()
    place, outside = world / ".onnxbuild" / name, tmp_path / "victim"
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
        outside.mkdir()
        (outside / "precious").write_text("x")
    else:
        place.unlink(missing_ok=True)
        outside.write_text("precious")
    place.symlink_to(outside)
    before = everything_in(outside) if outside.is_dir() else outside.read_bytes()
    capsys.readouterr()
    assert run_command(command) == 2
    assert "OB062 `.onnxbuild`" in capsys.readouterr().err
    assert (everything_in(outside) if outside.is_dir() else outside.read_bytes()) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("name", ["logs", "store/traces.db", "store/blobs"])
def test_a_fifo_in_the_state_is_refused(world, capsys, name):
    built()
    place = world / ".onnxbuild" / name
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    os.mkfifo(place)
    capsys.readouterr()
    assert run_command(["plan", "m.yaml"]) == 2
    assert f"contains `{name}`, which is neither a file nor a folder" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("command", [*READING, *WRITING], ids=lambda words: " ".join(words[:2]))
def test_the_state_of_another_user_is_refused(world, capsys, command):
    built()
    os.chown(world / ".onnxbuild", 12345, -1)
    capsys.readouterr()
    assert run_command(command) == 2
    assert "OB062 `.onnxbuild` belongs to another user" in capsys.readouterr().err


def test_an_index_that_cannot_be_read_is_no_permission(world, capsys):
    built()
    (world / ".git").mkdir()
    (world / ".git" / "index").write_bytes(b"no index")
    capsys.readouterr()
    assert run_command(["plan", "m.yaml"]) == 2
    assert "is inside a git repository that cannot be read (its index has an unknown format)" in capsys.readouterr().err


# -- the store that a manifest names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*READING, *WRITING], ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("path", ["../victim", "/{outside}", "link", "link/x"])
def test_a_store_outside_is_neither_read_nor_swept(world, tmp_path, capsys, command, path):
    victim = tmp_path / "victim"
    for name in ("work/mine", "locks/mine", "blobs/mine", "x/work/mine"):
        (victim / name).parent.mkdir(parents=True, exist_ok=True)
        (victim / name).write_text("precious")
    (world / "link").symlink_to(victim)
    write(store={"path": path.replace("/{outside}", str(victim))})
    before = everything_in(victim)
    assert run_command(command) == 2
    assert "OB060 the store" in capsys.readouterr().err
    assert everything_in(victim) == before


def test_the_command_line_may_name_any_store(world, tmp_path):
    write(store={"path": "../victim"})
    assert run_command(["run", "m.yaml", "--store", str(tmp_path / "mine")]) == 0
    assert not (tmp_path / "victim").exists()


def test_a_permission_to_read_is_none_to_keep_a_store(world, tmp_path, capsys):
    write(store={"path": "../victim"})
    assert run_command(["run", "m.yaml", "--allow-path", str(tmp_path)]) == 2
    assert "OB060 the store" in capsys.readouterr().err


def test_a_store_of_the_manifest_that_git_tracks_is_refused(world, capsys):
    write(store={"path": "cache"})
    built()
    track(world, "cache/traces.db")
    assert run_command(["plan", "m.yaml"]) == 2
    assert "OB062 `cache` is tracked by git" in capsys.readouterr().err


# -- the note about the last run --------------------------------------------------------------------------------------


def test_the_note_of_a_checkout_is_not_followed(world, capsys):
    built()
    track(world, ".onnxbuild/last")
    (world / ".onnxbuild" / "last").write_text("m.yaml\nstore: /etc\n")
    assert run_command(["explain", "m/fp32"]) == 2
    error = capsys.readouterr().err
    assert "/etc" not in error
    assert "OB042" in error


@pytest.mark.parametrize("text", [b"../../outside/m.yaml\n", b"\xff\xfe\n", b"", b"\0\n", b"m.yaml\n" * 300_000])
def test_a_damaged_note_is_no_error_of_ours(world, capsys, text):
    built()
    (world / ".onnxbuild" / "last").write_bytes(text)
    assert run_command(["explain", "m/fp32"]) == (0 if b"outside" in text else 2)  # the name counts, not its folder
    assert "outside" not in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("name", ["last", "receipts"])
@pytest.mark.parametrize(
    "command", [["lint", "m.yaml"], ["run", "m.yaml"], ["explain", "m/fp32"]], ids=lambda one: one[0]
)
def test_no_fifo_in_the_state_is_waited_for(world, name, command, alarm):
    built()
    state = world / ".onnxbuild"
    places = [state / "last"] if name == "last" else list((state / "receipts").iterdir())
    assert places
    for place in places:
        place.unlink()
        os.mkfifo(place)
    assert run_command(command) in {0, 2}


def test_a_log_that_is_a_link_is_not_shown(world, tmp_path, capsys):
    built()
    (tmp_path / "secret").write_text("precious")
    (log,) = (world / ".onnxbuild" / "logs").iterdir()
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    capsys.readouterr()
    assert run_command(["logs", "m:fetch", "-m", "m.yaml"]) == 2
    assert "precious" not in capsys.readouterr().out


# -- permissions and receipts -----------------------------------------------------------------------------------------


@pytest.fixture
def outside(world, tmp_path):
    """The same model, in a folder beside the manifest's."""
    (world / "model").rename(tmp_path / "elsewhere")
    write(models={"m": {"source": "onnx:../elsewhere", "load": False, "targets": ["fp32"]}})
    return tmp_path / "elsewhere"


@pytest.mark.usefixtures("world")
class TestPermissions:
    """A permission is part of the question that a receipt answers."""

    def test_the_option_permits(self, outside, capsys):
        assert run_command(["run", "m.yaml"]) == 2
        assert f"--allow-path {os.path.realpath(outside)}" in capsys.readouterr().err
        assert run_command(["run", "m.yaml", "--allow-path", str(outside)]) == 0
        assert run_command(["run", "m.yaml", "--allow-path", str(outside)]) == 0
        assert "up to date" in capsys.readouterr().out
        assert run_command(["run", "m.yaml"]) == 2

    def test_the_variable_permits(self, outside, monkeypatch):
        monkeypatch.setenv("ONNXBUILD_ALLOW_PATH", str(outside.parent))
        assert run_command(["run", "m.yaml"]) == 0
        monkeypatch.setenv("ONNXBUILD_ALLOW_PATH", str(outside.parent / "checkout"))
        assert run_command(["run", "m.yaml"]) == 2

    def test_the_configuration_permits(self, outside, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        config = tmp_path / "config" / "onnxbuild" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'allow_paths = ["{outside}"]\n')
        assert run_command(["run", "m.yaml"]) == 0
        assert run_command(["run", "m.yaml"]) == 0
        config.write_text("allow_paths = []\n")
        assert run_command(["run", "m.yaml"]) == 2

    def test_a_bad_configuration_is_a_fault_of_every_command(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        config = tmp_path / "config" / "onnxbuild" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text("allow_path = 1\n")
        for command in (*READING, *WRITING, ["lint", "m.yaml"], ["lock", "m.yaml"]):
            assert run_command(command) == 2, command
            assert "OB063 unknown key `allow_path`" in capsys.readouterr().err or command[0] == "lint"

    def test_every_command_takes_the_options(self, outside, capsys):
        allowed = ["--allow-path", str(outside), "--allow-env", "A*"]
        assert run_command(["run", "m.yaml", *allowed]) == 0
        for command in (*READING, *WRITING, ["lint", "m.yaml"], ["lock", "m.yaml"]):
            assert run_command([*command, *allowed]) == 0, capsys.readouterr().err

    def test_a_failure_repeats_the_options(self, outside):
        from onnxbuild.commands.parsing.options import asked_for
        from onnxbuild.commands.parsing.parsers import parse

        words = ["--allow-path", str(outside), "--allow-env", "A*"]
        assert asked_for(parse(["run", "m.yaml", *words])).as_arguments() == words

    @pytest.mark.parametrize("words", [["--allow-path", ""], ["--allow-env", "A*B"], ["--allow-env", "A=b"]])
    def test_a_misspelt_option_is_refused(self, words):
        with pytest.raises(SystemExit) as raised:
            run_command(["run", "m.yaml", *words])
        assert raised.value.code == 2


# -- the output folder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "store"),
    [
        (".onnxbuild", None),
        (".onnxbuild/store", None),
        (".onnxbuild/store/blobs", None),
        ("link", None),
        ("kept", "kept"),
        ("kept/out", "kept"),
        ("kept", "kept/m"),
        ("kept", "kept/m/store"),
    ],
)
def test_no_output_goes_into_a_store(world, capsys, out, store):
    (world / "link").symlink_to(".onnxbuild/store")
    named = ["--store", store] if store else []
    assert run_command(["run", "m.yaml", "--out", out, *named]) == 2
    assert f"OB064 the output folder `{world / out}`" in capsys.readouterr().err
    assert list(world.glob("**/fp32")) == []


def test_an_out_folder_that_is_a_link_is_not_followed(world, tmp_path, capsys):
    (tmp_path / "victim" / "m" / "fp32").mkdir(parents=True)
    (tmp_path / "victim" / "m" / "fp32" / "model.onnx").write_text("precious")
    (world / "out").symlink_to("../victim")
    assert run_command(["run", "m.yaml"]) == 2
    assert "`--out DIR`" in capsys.readouterr().err
    assert (tmp_path / "victim" / "m" / "fp32" / "model.onnx").read_text() == "precious"
    assert run_command(["run", "m.yaml", "--out", str(tmp_path / "victim")]) == 0


def test_a_store_beside_the_models_is_no_fault(world):
    assert run_command(["run", "m.yaml", "--out", "kept", "--store", "kept/store"]) == 0
    assert (world / "kept" / "m" / "fp32" / "model.onnx").is_file()


def test_the_python_interface_takes_permissions(outside):
    import onnxbuild
    from onnxbuild.diagnostics import DiagnosticError

    with pytest.raises(DiagnosticError, match="OB060"):
        onnxbuild.plan("m.yaml")
    assert [one.outcome for one in onnxbuild.plan("m.yaml", allow_paths=[outside])] == ["run"]
    assert onnxbuild.run("m.yaml", allow_paths=[outside]).exit_code == 0
    assert onnxbuild.load("m.yaml", allow_paths=[outside], allow_env=["A"]).permissions.environment == ("A",)


def test_the_python_interface_refuses_an_output_folder_in_the_store(world):
    import onnxbuild
    from onnxbuild.diagnostics import DiagnosticError

    with pytest.raises(DiagnosticError, match="OB064"):
        onnxbuild.run("m.yaml", out=world / ".onnxbuild" / "store" / "blobs")


@pytest.mark.parametrize(
    "command", [["graph", "m.yaml", "--output"], ["schema", "--output"], ["run", "m.yaml", "--profile"]]
)
def test_a_link_with_the_name_of_an_output_is_not_followed(world, tmp_path, capsys, command):
    (tmp_path / "precious").write_text("kept")
    (world / "g.svg").symlink_to(tmp_path / "precious")
    assert run_command([*command, "g.svg"]) != 0
    assert "is a symbolic link" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_store_in_the_home_folder_is_outside(world, capsys):
    write(store={"path": "~/store"})
    assert run_command(["run", "m.yaml"]) == 2
    home = os.path.realpath(os.path.expanduser("~"))
    assert f"with `--store {home}/store` or ONNXBUILD_STORE" in capsys.readouterr().err
    assert not (world / "~").exists()


def test_git_stages_nothing_of_the_state(world):
    git = shutil.which("git")
    assert git is not None
    subprocess.run([git, "init", "-q", "."], check=True)
    assert run_command(["run", "m.yaml"]) == 0
    assert run_command(["run", "m.yaml"]) == 0
    subprocess.run([git, "add", "-A"], check=True)
    staged = subprocess.run([git, "ls-files"], check=True, capture_output=True, text=True).stdout.split()
    assert "m.yaml" in staged
    assert [name for name in staged if name.startswith(".onnxbuild")] == []


def test_a_state_folder_of_the_user_keeps_its_gitignore(world):
    (world / ".onnxbuild").mkdir()
    (world / ".onnxbuild" / ".gitignore").write_text("mine")
    assert run_command(["run", "m.yaml"]) == 0
    assert (world / ".onnxbuild" / ".gitignore").read_text() == "mine"
