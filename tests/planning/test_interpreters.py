"""Interpreters that a manifest names: read from their folders, never started by planning, checked by a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugin.world import World

from onnxbuild.manifest.load import load_manifest
from onnxbuild.needs.step_needs import CODE_OF
from onnxbuild.permissions import permissions
from onnxbuild.planning.interpreters import distributions
from onnxbuild.planning.interpreters.distributions import Distributions
from onnxbuild.planning.interpreters.site_folders import NotUnderstood, site_folders
from onnxbuild.planning.interpreters.unseen import unseen
from onnxbuild.planning.interpreters.within_reach import readable_for
from onnxbuild.runners.environments import Current, Unusable
from onnxbuild.runners.toolchains.existing_interpreter import Interpreter
from onnxbuild.steps import KINDS
from onnxbuild.steps.kind import EVERYTHING

READING = ["lint", "plan", "graph", "status", "explain"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="the layout of POSIX, with real links")


def written(root: Path, *files: str) -> Path:
    """Files below a folder: `name` or `name=content`; a name that ends with `/` is a folder."""
    for file in files:
        name, _, content = file.partition("=")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(content)
    return root


def distribution(folder: Path, name: str, version: str, **files: str) -> Path:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    written(
        info, f"METADATA=Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: 0 of the description\n"
    )
    written(info, *(f"{name}={text}" for name, text in files.items()))
    return info


@pytest.mark.parametrize(
    ("files", "python", "windows", "expected"),
    [
        (["pyvenv.cfg=version = 3.12.1", "bin/python=", "lib/python3.12/site-packages/"], "bin/python", False,
         ("cpython-3.12", ["lib/python3.12/site-packages"])),
        (["pyvenv.cfg=version_info = 3.10.2\nimplementation = PyPy", "bin/pypy=", "lib/pypy3.10/site-packages/"],
         "bin/pypy", False, ("pypy-3.10", ["lib/pypy3.10/site-packages"])),
        (["pyvenv.cfg=version = 3.13.0", "bin/python=", "lib/python3.13t/site-packages/"], "bin/python", False,
         ("cpython-3.13", ["lib/python3.13t/site-packages"])),
        (["pyvenv.cfg=version = 3.12", "bin/python=", "lib64/python3.12/site-packages/",
          "lib/python3.12/site-packages/"], "bin/python", False,
         ("cpython-3.12", ["lib64/python3.12/site-packages", "lib/python3.12/site-packages"])),
        (["pyvenv.cfg=version = 3.12\x1b]0;x\x07", "bin/python=", "lib/python3.12/site-packages/"], "bin/python", False,
         ("cpython-3.12", ["lib/python3.12/site-packages"])),
        # What is left of an older Python in the same environment is not on its path.
        (["pyvenv.cfg=version = 3.12", "bin/python=", "lib/python3.11/site-packages/", "lib/python3.12/site-packages/"],
         "bin/python", False, ("cpython-3.12", ["lib/python3.12/site-packages"])),
        (["bin/python3.9=", "lib/python3.9/site-packages/"], "bin/python3.9", False,
         ("cpython-3.9", ["lib/python3.9/site-packages"])),
        (["bin/python=", "lib/python3.9/os.py=", "lib/python3.9/site-packages/"], "bin/python", False,
         ("cpython-3.9", ["lib/python3.9/site-packages"])),
        (["pyvenv.cfg=version = 3.12.1", "Scripts/python.exe=", "Lib/site-packages/"], "Scripts/python.exe", True,
         ("cpython-3.12", [".", "Lib/site-packages"])),
        (["python.exe=", "python3.dll=", "python311.dll=", "Lib/site-packages/"], "python.exe", True,
         ("cpython-3.11", [".", "Lib/site-packages"])),
    ],
    ids=["venv", "pypy", "free-threaded", "fedora", "odd version", "leftover", "named", "standard library",
         "windows venv", "windows"],
)  # fmt: skip
def test_the_layouts_of_environments(tmp_path: Path, files, python, windows, expected) -> None:
    written(tmp_path, *files)
    found = site_folders(str(tmp_path / python), windows=windows)
    assert (found.python, [os.path.relpath(folder, tmp_path) for folder in found.folders]) == expected


@pytest.mark.parametrize(
    "files",
    [["bin/python=#!/bin/sh\nexec python3"], ["bin/python=", "lib/python3.9/os.py=", "lib/python3.10/os.py="],
     ["bin/python=", "pyvenv.cfg=version = new"],
     ["bin/python=", "pyvenv.cfg=version = 3.12\nimplementation = ../../x"],
     ["bin/python=", "pyvenv.cfg=version = 3.12\nimplementation = \x1b[31m"]],
)  # fmt: skip
def test_what_tells_no_version_is_not_started_to_find_out(tmp_path: Path, files) -> None:
    written(tmp_path, *files)
    with pytest.raises(NotUnderstood, match="tell which version of Python it is"):
        site_folders(str(tmp_path / "bin" / "python"), windows=False)


# -- the same as Python -----------------------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A real virtual environment without pip."""
    place = tmp_path / "env"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", place], check=True)
    return place


def packages(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))


def python(environment: Path) -> str:
    return str(environment / "bin" / "python")


def imported(environment: Path, name: str) -> str:
    """The version that Python itself says it would import."""
    code = f"from importlib import metadata; print(metadata.version({name!r}))"
    return subprocess.run(
        [python(environment), "-I", "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@posix
@pytest.mark.parametrize("line", ["../../../../more", "{more}  ", "# comment\n\n../../../../more\n"])
def test_of_two_versions_on_the_path_the_first_counts_as_python_imports_it(environment, tmp_path, line) -> None:
    more = tmp_path / "more"
    distribution(more, "shadowed", "9.0")
    distribution(more, "only-there", "3.0")
    distribution(packages(environment), "shadowed", "1.0")
    written(packages(environment), f"more.pth={line.format(more=more)}", "gone.pth=/no/such/folder")
    there = Interpreter("t", python(environment))
    for name, version in (("shadowed", "1.0"), ("only-there", "3.0")):
        assert (there.version(name), imported(environment, name)) == (version, version)
    assert there.version("absent") == "absent"
    assert there.interpreter(lambda _text: None, None) == python(environment)
    assert {str(more), str(packages(environment) / "more.pth")} <= set(there.watched())


def test_a_folder_that_a_line_names_before_it_exists_is_waited_for(tmp_path) -> None:
    written(
        tmp_path, "pyvenv.cfg=version = 3.12", "bin/python=", "lib/python3.12/site-packages/x.pth=../../../later/src"
    )
    assert str(tmp_path) in Interpreter("t", str(tmp_path / "bin" / "python")).watched()
    distribution(tmp_path / "later" / "src", "late", "1.0")
    there = Interpreter("t", str(tmp_path / "bin" / "python"))
    assert there.version("late") == "1.0"
    assert str(tmp_path / "later" / "src") in there.watched()


@posix
def test_the_packages_of_the_system_come_after_those_of_the_environment(tmp_path) -> None:
    place = tmp_path / "env"
    command = [sys.executable, "-I", "-m", "venv", "--without-pip", "--system-site-packages", place]
    subprocess.run(command, check=True)
    distribution(packages(place), "setuptools", "0.1")
    there = Interpreter("t", python(place))
    assert (there.version("setuptools"), imported(place, "setuptools")) == ("0.1", "0.1")
    assert there.version("pip") == imported(place, "pip")


@posix
def test_two_versions_in_one_folder_are_both_in_the_key(environment) -> None:
    for version in ("1.0", "2.0"):
        distribution(packages(environment), "twice", version)
    installed = Distributions(site_folders(python(environment)).folders)
    assert installed.version("twice") == "1.0 or 2.0"
    assert installed.doubled() == {"twice": ("1.0", "2.0")}


def test_metadata_of_every_form_has_its_version(tmp_path: Path) -> None:
    distribution(tmp_path, "wheel-one", "1.0+cpu")
    written(tmp_path, "setup_one.egg-info/PKG-INFO=Name: setup-one\nVersion: 2.0\n")
    written(tmp_path, "flat-3.0-py3.11.egg-info=Name: flat\nVersion: 3.0\n")
    written(tmp_path, "empty-1.0.dist-info/", "~ip-1.0.dist-info/METADATA=Name: pip\nVersion: 1.0\n")
    installed = Distributions([str(tmp_path)])
    assert {name: installed.released(name) for name in installed.names()} == {
        "wheel-one": "1.0+cpu", "setup-one": "2.0", "flat": "3.0",
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_metadata_that_is_a_fifo_or_a_link_is_not_opened(tmp_path: Path) -> None:
    for name in ("fifo", "link"):
        distribution(tmp_path, name, "1.0").joinpath("METADATA").unlink()
    os.mkfifo(tmp_path / "fifo-1.0.dist-info" / "METADATA")
    (tmp_path / "link-1.0.dist-info" / "METADATA").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "x.pth")
    installed = Distributions([str(tmp_path)])
    assert (installed.version("fifo"), installed.version("link")) == ("1.0", "1.0")


@posix
def test_a_link_to_code_or_metadata_counts_by_what_it_leads_to_if_that_may_be_read(tmp_path: Path) -> None:
    packages, outside = tmp_path / "site-packages", tmp_path / "outside"
    distribution(outside, "linked", "1.0").rename(outside / "info")
    written(outside, "code.py=a = 1")
    written(packages, "project/data.txt=x")
    (packages / "linked-1.0.dist-info").symlink_to(outside / "info")
    (packages / "project" / "code.py").symlink_to(outside / "code.py")
    url = json.dumps({"url": (packages / "project").as_uri(), "dir_info": {"editable": True}})
    distribution(packages, "mine", "1.0", **{"direct_url.json": url})

    def versions(*readable: Path) -> tuple[str, str]:
        allowed = [os.path.realpath(folder) for folder in readable]
        installed = Distributions([str(packages)], lambda real: any(real.startswith(one) for one in allowed))
        return installed.version("linked"), installed.version("mine")

    inside, everywhere = versions(packages), versions(packages, outside)
    assert (inside[0], everywhere[0]) == ("absent", "1.0")
    written(outside, "code.py=a = 2")
    assert versions(packages) == inside
    assert versions(packages, outside)[1] != everywhere[1]


def test_what_setup_py_develop_and_easy_install_left_is_found(tmp_path: Path) -> None:
    written(tmp_path, "project/mine.egg-info/PKG-INFO=Name: mine\nVersion: 1.0\n", "project/mine.py=a = 1")
    written(tmp_path, "old-2.0-py3.11.egg/EGG-INFO/PKG-INFO=Name: old\nVersion: 2.0\n")
    folders = [str(tmp_path / "old-2.0-py3.11.egg"), str(tmp_path / "project"), str(tmp_path / "gone")]
    before = Distributions(folders).version("mine")
    assert before.startswith("1.0 (editable ")
    written(tmp_path, "project/mine.py=a = 2")
    assert Distributions(folders).version("mine") != before
    assert Distributions(folders).version("old") == "2.0"


@pytest.mark.parametrize("root", ["", "src/"])
def test_the_module_of_an_editable_plugin_is_found_in_its_project(tmp_path: Path, root: str) -> None:
    project = written(tmp_path / "project", f"{root}plug/__init__.py=a = 1")
    url = json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}})
    distribution(tmp_path / "site-packages", "plug", "1.0", **{"direct_url.json": url})
    before = Distributions([str(tmp_path / "site-packages")]).version(f"{CODE_OF}plug")
    assert before != "absent"
    written(project, f"{root}plug/__init__.py=a = 2")
    assert Distributions([str(tmp_path / "site-packages")]).version(f"{CODE_OF}plug") != before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_configuration_that_is_no_file_is_not_read(tmp_path: Path) -> None:
    written(tmp_path, "bin/python=")
    (tmp_path / "pyvenv.cfg").symlink_to("/dev/zero")
    assert site_folders_fault(tmp_path) == "neither its name nor the files around it tell which version of Python it is"
    (tmp_path / "pyvenv.cfg").unlink()
    written(tmp_path, "real.cfg=version = 3.12")
    (tmp_path / "pyvenv.cfg").symlink_to("real.cfg")
    assert site_folders_fault(tmp_path).endswith("pyvenv.cfg` cannot be read: is a symbolic link")


def site_folders_fault(root: Path) -> str:
    with pytest.raises(NotUnderstood) as error:
        site_folders(str(root / "bin" / "python"), windows=False)
    return str(error.value)


@posix
@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho '{}'\n", "not a program"])
def test_an_interpreter_that_does_not_answer_is_a_failure_of_the_run(tmp_path: Path, script: str) -> None:
    written(tmp_path, "pyvenv.cfg=version = 3.11", f"bin/python={script}", "lib/python3.11/site-packages/")
    (tmp_path / "bin" / "python").chmod(0o755)
    with pytest.raises(Unusable) as error:
        Interpreter("t", str(tmp_path / "bin" / "python")).interpreter(lambda _text: None, None)
    assert error.value.failure.code == "OBE65"


def test_odd_bytes_in_an_environment_are_no_fault_of_ours(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.12" / "site-packages"
    config = "pyvenv.cfg=version = 3.12\nhome = /a\0b\ninclude-system-site-packages = true"
    written(tmp_path, config, "bin/python=")
    written(packages, "x.pth=a\0b\n\n# c\n")
    odd = os.fsdecode(b"\xff")
    try:
        written(packages, f"{odd}-1.0.dist-info/METADATA=Name: x\nVersion: 1\n", f"project/{odd}.py=")
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    url = json.dumps({"url": (packages / "project").as_uri(), "dir_info": {"editable": True}})
    distribution(packages, "mine", "1.0", **{"direct_url.json": url})
    distribution(packages, "other", "1.0", **{"direct_url.json": '{"url": "file://[", "dir_info": {"editable": true}}'})
    there = Interpreter("t", str(tmp_path / "bin" / "python"))
    assert there.version("mine").startswith("1.0 (editable ")
    assert there.version("other") == "1.0"
    assert len(there.version(EVERYTHING)) == 32


def test_the_code_of_an_editable_installation_is_part_of_its_version(tmp_path: Path) -> None:
    project = written(tmp_path / "project", "src/mine/__init__.py=a = 1", "src/mine/data.txt=x", ".venv/pyvenv.cfg=",
                      ".venv/lib/x.py=")  # fmt: skip
    url = json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}})
    distribution(tmp_path / "site-packages", "mine", "1.0", **{"direct_url.json": url})
    distribution(tmp_path / "site-packages", "other", "1.0", **{"direct_url.json": url.replace("true", "false")})

    def version(name: str = "mine") -> str:
        return Distributions([str(tmp_path / "site-packages")]).version(name)

    before, everything = version(), version(EVERYTHING)
    assert before.startswith("1.0 (editable ")
    written(project, "src/mine/data.txt=y", ".venv/lib/x.py=1")
    os.utime(project / "src" / "mine" / "__init__.py")
    assert version() == before
    written(project, "src/mine/__init__.py=a = 2")
    changed = version()
    assert changed != before
    assert version(EVERYTHING) != everything
    written(project, "src/mine/more.py=")
    assert version() not in {before, changed}
    assert version("other") == "1.0"
    watched = set(Distributions([str(tmp_path / "site-packages")]).watched("mine"))
    assert {str(project / "src" / "mine"), str(project / "src" / "mine" / "__init__.py")} <= watched
    hidden = Distributions([str(tmp_path / "site-packages")], lambda _folder: False)
    assert (hidden.version("mine"), list(hidden.watched("mine"))[1:]) == ("1.0", [])


@pytest.mark.parametrize("tree", ["mine_here/__init__.py", "mine_here.py"])
def test_a_source_tree_that_hides_a_distribution_counts_by_content(tmp_path: Path, tree: str) -> None:
    earlier, packages = tmp_path / "tree", tmp_path / "site-packages"
    distribution(packages, "mine-here", "1.0")
    written(packages, "mine_here/__init__.py=a = 0")

    def version(*folders: Path, name: str = "mine-here") -> str:
        return Distributions([str(folder) for folder in folders]).version(name)

    assert version(packages) == version(earlier, packages) == "1.0"
    written(earlier, f"{tree}=a = 1")
    hidden = version(earlier, packages)
    assert hidden.startswith("1.0 (hidden by ")
    assert version(packages, earlier) == "1.0"
    assert version(earlier).startswith("absent (hidden by ")
    written(earlier, f"{tree}=a = 2")
    assert version(earlier, packages) not in {hidden, "1.0"}
    watched = Distributions([str(earlier), str(packages)]).watched("mine-here")
    assert str(earlier / tree) in watched


def test_a_folder_without_modules_of_its_own_hides_nothing(tmp_path: Path) -> None:
    distribution(tmp_path / "site-packages", "mine", "1.0")
    written(tmp_path / "tree", "mine/data.txt=x")  # to Python, a part of a namespace package
    assert Distributions([str(tmp_path / "tree"), str(tmp_path / "site-packages")]).version("mine") == "1.0"


def test_the_version_of_everything_changes_with_any_distribution(tmp_path: Path) -> None:
    distribution(tmp_path, "a", "1.0")
    before = Distributions([str(tmp_path)]).version(EVERYTHING)
    distribution(tmp_path, "onnxbuild", "9")
    assert Distributions([str(tmp_path)]).version(EVERYTHING) == before
    distribution(tmp_path, "b", "1.0")
    assert Distributions([str(tmp_path)]).version(EVERYTHING) != before


def test_the_versions_of_this_interpreter_are_those_of_importlib() -> None:
    from importlib import metadata

    names = ("PyYAML", "msgspec", "pytest", "rich")
    assert [Current().version(name) for name in names] == [metadata.version(name) for name in names]
    assert Current().version("no-such-distribution") == "absent"


# -- who starts what --------------------------------------------------------------------------------------------------


@posix
def test_a_run_notices_packages_that_a_plan_cannot_see(environment, tmp_path) -> None:
    distribution(tmp_path / "more", "hidden", "1.0")
    code = f"import sys; sys.path.append({str(tmp_path / 'more')!r})"
    written(packages(environment), f"code.pth={code}\n")
    there = Interpreter("t", python(environment))
    assert (there.version("hidden"), imported(environment, "hidden")) == ("absent", "1.0")
    with pytest.raises(Unusable) as error:
        there.interpreter(lambda _text: None, None)
    assert error.value.failure.code == "OBE70"
    assert str(error.value) == "toolchain `t` has other packages than its folders: hidden is 1.0, not absent"
    assert error.value.failure.notes[0] == ("found", f"what a plan cannot see: {packages(environment) / 'code.pth'}")


@posix
def test_a_package_outside_what_may_be_read_is_not_looked_at(environment, tmp_path) -> None:
    distribution(tmp_path / "more", "elsewhere", "1.0")
    written(packages(environment), f"more.pth={tmp_path / 'more'}\n")
    inside = os.path.realpath(environment)
    there = Interpreter("t", python(environment), may_read=lambda folder: folder.startswith(inside))
    assert there.version("elsewhere") == "absent"
    assert str(tmp_path / "more") not in there.watched()


@posix
@pytest.mark.parametrize(("permitted", "version"), [(False, "absent"), (True, "1.0")])
def test_an_environment_that_came_with_the_manifest_stays_within_its_reach(
    tmp_path, monkeypatch, permitted, version
) -> None:
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH", raising=False)
    project, more = tmp_path / "project", tmp_path / "more"
    written(
        project, "env/pyvenv.cfg=version = 3.11", "env/bin/python=", f"env/lib/python3.11/site-packages/x.pth={more}"
    )
    written(project, 'm.yaml={"onnxbuild": 1, "models": {}}')
    distribution(more, "elsewhere", "1.0")
    allowed = permissions([str(more)] if permitted else [])
    manifest = load_manifest(str(project / "m.yaml"), kinds=KINDS, permissions=allowed)
    inside = str(project / "env" / "bin" / "python")
    assert Interpreter("t", inside, readable_for(inside, manifest)).version("elsewhere") == version
    project.joinpath("env").rename(tmp_path / "env")
    outside = str(tmp_path / "env" / "bin" / "python")
    assert Interpreter("t", outside, readable_for(outside, manifest)).version("elsewhere") == "1.0"


def hostile(world: World, python: str) -> None:
    manifest = json.loads(world.manifest({"one": [{"text": "x"}]}, toolchain="t").read_text())
    manifest["toolchains"] = {"t": {"python": python}}
    (world.root / "manifest.yaml").write_text(json.dumps(manifest))


def start(world: World, verb: str):
    more = {"explain": ["m/one"], "lint": [], "graph": []}.get(verb, [])
    command = [part for part in world.command(*more, verb=verb) if verb != "explain" or part != "x"]
    return subprocess.run(
        command, cwd=world.root, env=world.environment, capture_output=True, text=True, timeout=120, check=False
    )


@posix
@pytest.mark.parametrize("verb", READING)
def test_no_reading_command_starts_the_interpreter_that_a_manifest_names(tmp_path: Path, verb: str) -> None:
    world = World(tmp_path)
    script = (
        written(tmp_path, f'evil.sh=#!/bin/sh\necho ran >> {tmp_path}/ran\nexec {sys.executable} "$@"\n') / "evil.sh"
    )
    script.chmod(0o755)
    hostile(world, "./evil.sh")
    done = start(world, verb)
    assert not (tmp_path / "ran").exists(), done.stderr
    if verb == "plan":
        assert done.returncode == 2
        assert "OB080 the interpreter of toolchain `t` cannot be understood" in done.stderr


@posix
def test_an_honest_interpreter_does_not_import_from_the_working_folder(tmp_path, environment) -> None:
    world = World(tmp_path)
    for name in ("json.py", "yaml.py", "subprocess.py"):  # -m begins its path with the working folder
        written(tmp_path, f"{name}=open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    hostile(world, "env/bin/python")
    done = start(world, "plan")
    assert not (tmp_path / "ran").exists(), done.stderr
    assert done.returncode == 0, done.stderr
    there = Interpreter("t", python(environment))
    cwd = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert there.interpreter(lambda _text: None, None) == python(environment)
    finally:
        os.chdir(cwd)
    assert not (tmp_path / "ran").exists()


# -- what a plan cannot see -------------------------------------------------------------------------------------------


def test_each_variable_that_interpreters_of_toolchains_do_not_see_is_named(tmp_path: Path) -> None:
    names = ["PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONUSERBASE"]
    found = unseen(str(tmp_path / "gone"), {**dict.fromkeys(reversed(names), "x"), "PYTHONHASHSEED": "1"})
    assert found == (
        f"the packages of {tmp_path / 'gone'}: {tmp_path / 'gone'}",
        *(f"{name} is set: the interpreters of toolchains do not see it" for name in names),
    )
    assert unseen(str(tmp_path / "gone"), dict.fromkeys(names, ""))[1:] == ()


def test_packages_of_the_user_are_named_where_they_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "pyvenv.cfg=version = 3.12", "bin/python=", "lib/python3.12/site-packages/", "user/")
    python = str(tmp_path / "bin" / "python")
    user = str(tmp_path / "user")
    monkeypatch.setattr("site.getusersitepackages", lambda: user)
    for is_on, place, expected in (
        (True, user, (f"{user}: toolchains do not import from the user's own packages",)),
        (False, user, ()),
        (True, f"{user}/gone", ()),
    ):
        monkeypatch.setattr("site.ENABLE_USER_SITE", is_on)
        monkeypatch.setattr("site.getusersitepackages", lambda place=place: place)
        assert unseen(python, {}) == expected


def test_lines_that_are_code_a_comment_or_no_path_add_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "python3.12" / "site-packages"
    lines = ["more", "", "  ", "#more2", "import more3", "import\tmore4", "importer", "mo\0re5", "gone/deep"]
    names = ("more", "#more2", "import more3", "import\tmore4", "importer")
    written(folder, *(f"{name}/" for name in names), "x.pth=" + "\n".join(lines), ".y.pth=#more2/../import more3")
    written(folder, "z.txt=importer", "usercustomize.py=", "sitecustomize.py=")
    written(tmp_path, "pyvenv.cfg=version = 3.12", "bin/python=")
    found = site_folders(str(tmp_path / "bin" / "python"), windows=False)
    assert found.folders == (str(folder), str(folder / "more"), str(folder / "importer"))
    hooks = (folder / "sitecustomize.py", folder / "usercustomize.py", folder / "x.pth")
    assert found.unseen == tuple(map(str, hooks))
    config = (tmp_path / "bin" / "python", tmp_path / "pyvenv.cfg")
    assert found.read == tuple(map(str, (*config, folder / "x.pth", folder)))


def test_a_folder_that_may_not_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "python3.12" / "site-packages"
    written(tmp_path, "pyvenv.cfg=version = 3.12", "bin/python=", "more/")
    written(folder, f"x.pth={tmp_path / 'more'}\n{tmp_path / 'more'}")
    python, real = str(tmp_path / "bin" / "python"), os.path.realpath(tmp_path / "more")
    found = site_folders(python, may_read=lambda place: place != real, windows=False)
    assert found.folders == (str(folder),)
    assert found.unseen == (f"{tmp_path / 'more'}, which is outside the folders that may be read",)
    assert site_folders(python, windows=False).folders == (str(folder), str(tmp_path / "more"))


def test_a_line_of_a_configuration_that_is_odd_is_passed_over(tmp_path: Path) -> None:
    text = "VERSION=3.9\0\n  Version  =  3.12.4 \nno equals sign\nversion_info\nimplementation = CPython"
    written(tmp_path, f"pyvenv.cfg={text}", "bin/python=", "lib/python3.12/site-packages/")
    found = site_folders(str(tmp_path / "bin" / "python"), windows=False)
    assert (found.python, found.unseen) == ("cpython-3.12", ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("onnx_ir-1.1.0.dist-info", ("onnx-ir", "1.1.0")),
        ("A.B-2.0-py3.11.egg-info", ("a-b", "2.0")),
        ("bare.egg-info", ("bare", "unknown")),
        ("c-1.0.egg-info", ("c", "1.0")),
    ],
)
def test_without_metadata_the_name_of_the_folder_tells(tmp_path: Path, name: str, expected) -> None:
    written(tmp_path / "site-packages", f"{name}/PKG-INFO=\n\nVersion: 9", f"{name}/METADATA=")
    installed = Distributions([str(tmp_path / "site-packages")])
    assert [(one, installed.version(one)) for one in installed.names()] == [expected]
    assert installed.editable() == ()


def test_an_egg_info_is_editable_beside_the_code_and_not_among_packages(tmp_path: Path) -> None:
    for folder in ("code", "site-packages", "dist-packages"):
        written(tmp_path / folder, "mine.egg-info/PKG-INFO=Version: 1.0\n", "mine.py=a = 1")
    found = {folder: Distributions([str(tmp_path / folder)]).editable() for folder in
             ("code", "site-packages", "dist-packages")}  # fmt: skip
    assert found == {"code": ("mine",), "site-packages": (), "dist-packages": ()}


@pytest.mark.parametrize(
    ("url", "path"),
    [("file:///a/b%20c", "/a/b c"), ("file:///C:/a", "C:/a"), ("https://a/b", None), ("file:///a%00b", None),
     ("file://[", None)],
)  # fmt: skip
def test_the_path_of_an_url_of_a_distribution(url, path):
    assert distributions._path(url) == path
