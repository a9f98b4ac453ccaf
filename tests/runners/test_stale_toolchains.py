"""After any change of what an interpreter imports the next run builds again, past the receipt of the run before it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin.world import PLUGIN, World

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the layout of POSIX, with real links")


class Shop:
    """A world whose one toy step declares the package `frob` and runs in an interpreter that the manifest names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        plugin = root / "plugin"
        shutil.copytree(PLUGIN, plugin, ignore=shutil.ignore_patterns("__pycache__", "world.py"))
        declaration = plugin / "toy_steps" / "__init__.py"
        named = 'worker="toy_steps.work:run",'
        declaration.write_text(
            declaration.read_text().replace(named, f'{named}\n    packages=lambda _params: ("frob",),', 1)
        )
        self.world = World(root / "world")
        self.world.environment["PYTHONPATH"] = f"{plugin}{os.pathsep}{Path(__file__).parents[2]}"
        environment = self.world.root / "env"
        subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", environment], check=True)
        (self.packages,) = environment.glob("lib/python3*/site-packages")
        self.first, self.second = self.world.root / "first", self.world.root / "second"
        self.lines("first", "", self.first, self.second)
        self.lines("plugin", plugin, sysconfig.get_path("purelib"))
        manifest = json.loads(self.world.manifest({"one": [{"text": "x"}]}, toolchain="t").read_text())
        manifest["toolchains"] = {"t": {"python": "env/bin/python"}}
        (self.world.root / "manifest.yaml").write_text(json.dumps(manifest))
        self.install(self.first, "1.0")
        self.second.mkdir()

    def lines(self, name: str, *folders: object) -> None:
        (self.packages / f"{name}.pth").write_text("".join(f"{folder}\n" for folder in folders))

    def install(self, folder: Path, version: str, url: str | None = None) -> None:
        for old in folder.glob("frob-*.dist-info"):
            shutil.rmtree(old)
        info = folder / f"frob-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: frob\nVersion: {version}\n")
        if url is not None:
            (info / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {"editable": True}}))

    def code(self, text: str) -> Path:
        project = self.world.root / "project"
        project.mkdir(exist_ok=True)
        (project / "frob.py").write_text(text)
        return project

    def run(self, verb: str = "run") -> dict[str, list[str]]:
        """The actions that run, with the parts of the key that changed."""
        done = self.world.run("--json", verb=verb)
        assert done.code == 0, done
        return {
            name: [reason["part"] for reason in line["reasons"]]
            for name, line in done.actions().items()
            if line["outcome"] != "hit"
        }


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("ONNXBUILD_ALLOW_PATH", os.pathsep.join([str(tmp_path), sysconfig.get_path("purelib"), "/"]))
    made = Shop(tmp_path)
    made.install(made.first, "1.0", made.code("a = 1").as_uri())
    assert "m/one:toy" in made.run()
    assert "up to date" in made.world.run().out
    return made


CHANGES: dict[str, Callable[[Shop], object]] = {
    "another version in a folder of a .pth file": lambda shop: shop.install(shop.first, "2.0"),
    "an earlier folder has it now, too": lambda shop: shop.install(shop.packages, "2.0"),
    "the .pth file names another folder": lambda shop: (
        shop.install(shop.second, "3.0"),
        shop.lines("first", shop.second),
    ),
    "it is removed": lambda shop: shutil.rmtree(next(shop.first.glob("frob-*"))),
    "the code of an editable installation": lambda shop: shop.code("a = 2"),
    "a new file of an editable installation": lambda shop: (shop.code("a = 1") / "more.py").write_text(""),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_is_imported_from_now_on_is_built_again(shop: Shop, change: str) -> None:
    CHANGES[change](shop)
    assert shop.run("plan") == {"m/one:toy": ["packages.frob"]}
    assert shop.run() == {"m/one:toy": ["packages.frob"]}
    assert shop.run() == {}
    assert "up to date" in shop.world.run().out


def test_what_is_not_imported_builds_nothing(shop: Shop) -> None:
    shop.install(shop.second, "9.0")
    (shop.code("a = 1") / "notes.txt").write_text("text")
    assert shop.run() == {}
