"""The command `card`: what it writes where, what it keeps, and what a source on a Hub states."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_server import HubServer
from plugin.world import ROOT, Ended, World

from onnxbuild.report.result.figures import NONE

STEPS = {"one": [{"text": "1"}], "two": [{"text": "22"}]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("card"))
    (made.root / "model" / "README.md").write_text("---\nlicense: mit\n---\n# A toy\n")
    made.manifest(STEPS)
    assert made.run().code == 0
    return made


def card(world: World, *arguments: str) -> Ended:
    return world.run(*arguments, verb="card")


def metadata(path: Path) -> dict[str, object]:
    lines = path.read_text(encoding="utf-8").splitlines()
    found: dict[str, object] = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    return found


def test_it_is_beside_the_folders_of_the_variants_and_is_replaced(world: World) -> None:
    readme = world.root / "out" / "m" / "README.md"
    for _ in range(2):
        done = card(world)
        assert (done.code, done.out, done.err) == (0, "", "wrote out/m/README.md\n")
    assert metadata(readme) == {
        "library_name": "onnxruntime",
        "tags": ["onnx", "onnxruntime", "fp32"],
        "license": "mit",
    }
    text = readme.read_text()
    assert "ONNX versions of the folder `model`, built" in text
    assert str(world.root) not in text
    assert world.run().code == 0  # a run takes it for nothing of its own
    assert readme.read_text() == text


def test_a_folder_that_is_missing_is_named_with_the_command_that_writes_it(world: World) -> None:
    folders = sorted(path for path in (world.root / "out" / "m").iterdir() if path.is_dir())
    for one in folders:
        shutil.rmtree(one)
    done = card(world)
    names = ", ".join(one.name for one in folders)
    assert done.code == 0
    assert f"OB681 warning: the card of `m` describes what is missing in `out/m`: {names}\n" in done.err
    assert "= hint: `onnxbuild run manifest.yaml m` writes it again\n" in done.err
    assert world.run().code == 0
    assert [one.is_dir() for one in folders] == [True] * len(folders)
    assert "OB681" not in card(world).err


def test_another_folder_and_one_model(world: World, tmp_path: Path) -> None:
    assert card(world, "m", "--output", str(tmp_path / "cards")).code == 0
    assert [path.name for path in (tmp_path / "cards" / "m").iterdir()] == ["README.md"]
    assert card(world, "x", "--output", str(tmp_path)).code == 2


def test_a_card_of_somebody_else_is_kept(world: World) -> None:
    readme = world.root / "kept" / "m" / "README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text("---\nlicense: mit\n---\n# Mine\n")
    done = card(world, "--output", "kept")
    assert done.code == 2
    assert "README.md` cannot be written: it exists, and onnxbuild has not written it" in done.err
    assert "# Mine" in readme.read_text()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="links are rare on Windows")
def test_no_link_is_followed(world: World, tmp_path: Path) -> None:
    (world.root / "linked").mkdir()
    (world.root / "linked" / "m").symlink_to(tmp_path)
    done = card(world, "--output", "linked")
    assert (done.code, "OB090" in done.err) == (2, True)
    secret = tmp_path / "secret.md"
    secret.write_text("---\nlicense: apache-2.0\n---\n")
    own = world.root / "model" / "README.md"
    content = own.read_text()
    own.unlink()
    own.symlink_to(secret)
    try:
        assert card(world, "--output", "unread").code == 0
    finally:
        own.unlink()
        own.write_text(content)
    assert "license" not in metadata(world.root / "unread" / "m" / "README.md")


def test_what_is_in_the_way_is_named_with_the_option_of_this_command(world: World) -> None:
    (world.root / "taken").mkdir()
    (world.root / "taken" / "m").write_text("a file")
    done = card(world, "--output", "taken")
    assert (done.code, "OB647" in done.err) == (2, True)
    assert "hint: move the file elsewhere, or name another folder with `--output DIR`" in done.err


def test_a_model_that_was_never_run_has_no_card(tmp_path: Path) -> None:
    never = World(tmp_path)
    never.manifest(STEPS)
    done = card(never)
    assert done.code == 2
    assert "OB681 no variant of `m` is finished" in done.err
    assert "hint: `onnxbuild run manifest.yaml m`" in done.err
    assert not (tmp_path / "out").exists()


def test_a_variant_that_failed_is_named_and_has_no_folder(tmp_path: Path) -> None:
    half = World(tmp_path)
    half.manifest({"one": [{"text": "1"}], "two": [{"do": "exit"}]})
    assert half.run().code == 1
    assert card(half).code == 0
    text = (tmp_path / "out" / "m" / "README.md").read_text()
    assert "| one | `one/` |" in text
    assert f"| two | {NONE} |" in text
    assert "`two` failed or was not finished" in text


def test_a_file_that_the_store_lacks_is_made_again_by_a_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.manifest(STEPS)
    assert world.run().code == 0
    described = json.loads((tmp_path / "out" / "m" / "two" / "onnxbuild.json").read_text())
    digest = described["files"]["model.onnx"]["blake3"]
    (blob,) = world.store.rglob(digest)
    blob.unlink()
    done = card(world)
    assert done.code == 1
    assert done.err == (
        "OB711 `model.onnx` of `m/two` is missing in the store\n"
        "  = hint: `onnxbuild cache verify manifest.yaml` removes what is damaged, and `onnxbuild run manifest.yaml` "
        "makes it again\n"
    )
    assert (world.run().code, card(world).code) == (0, 0)


# -- a source on a Hub ------------------------------------------------------------------------------------------------


def tiny_graph() -> bytes:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    return content


def from_hub(folder: Path, endpoint: str, *arguments: str) -> Ended:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                   "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.heavy
def test_a_source_on_a_hub_is_the_base_model_and_states_the_license(tmp_path: Path) -> None:
    model = {"source": "hub:org/tiny", "targets": ["same"], "validate": False, "load": False, "benchmark": False}
    (tmp_path / "m.yaml").write_text(
        json.dumps({
            "onnxbuild": 1,
            "targets": {"same": {}},
            "models": {"tiny": model, "bare": {**model, "source": "hub:org/bare"}},
        })
    )  # fmt: skip
    readme = b"---\nlicense: apache-2.0\nlanguage: [de]\n---\n"
    with HubServer() as hub:
        commit = hub.add("org/tiny", {"model.onnx": tiny_graph(), "README.md": readme})
        hub.add("org/bare", {"model.onnx": tiny_graph()})
        ran = from_hub(tmp_path, hub.endpoint, "run", "m.yaml")
        assert ran.code == 0, ran
        hub.add(
            "org/tiny", {"model.onnx": tiny_graph(), "README.md": b"---\nlicense: mit\n---\n"}
        )  # not the pinned one
        done = from_hub(tmp_path, hub.endpoint, "card", "m.yaml", "--no-plots")
        assert (done.code, "OB682" in done.err) == (0, False), done
        path = tmp_path / "out" / "tiny" / "README.md"
        found = metadata(path)
        assert {name: found[name] for name in ("base_model", "license", "language")} == {
            "base_model": "org/tiny", "license": "apache-2.0", "language": ["de"]
        }  # fmt: skip
        assert f"revision `{commit}`" in path.read_text()
        assert "license" not in metadata(tmp_path / "out" / "bare" / "README.md")
        asked = len(hub.requests)
        done = from_hub(tmp_path, hub.endpoint, "card", "m.yaml", "tiny", "--no-plots", "--offline")
        assert (done.code, len(hub.requests)) == (0, asked)
        assert "OB682 warning: the card of `org/tiny` is not read with `--offline`" in done.err
        assert "license" not in metadata(path)
        hub.gated.add("org/tiny")
        done = from_hub(tmp_path, hub.endpoint, "card", "m.yaml", "tiny", "--no-plots")
        assert (done.code, "OB682 warning: the card of `org/tiny` cannot be read" in done.err) == (0, True)


@pytest.mark.heavy
def test_the_plots_need_matplotlib_and_the_card_does_not(world: World) -> None:
    hidden = "import sys; sys.modules['matplotlib'] = None; from onnxbuild.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", hidden, "card", "manifest.yaml", "--store", str(world.store), "--output", "none"]
    done = world.run_arguments(command)
    assert (done.code, "OB092" in done.err, "`--no-plots`" in done.err) == (2, True, True)
    assert world.run_arguments([*command, "--no-plots"]).code == 0
