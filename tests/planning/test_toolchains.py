"""Toolchains: what they resolve to, how they are locked, and the environments made from them."""

from __future__ import annotations

import json
import platform
import site
import subprocess
import sys
import sysconfig
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.digest import digest_value
from onnxbuild.manifest.load import load_manifest
from onnxbuild.passed_variables import of_pip
from onnxbuild.planning.lock_file import lock_for, read_lock
from onnxbuild.planning.pinned import resolution
from onnxbuild.planning.pinned.resolution import _pip, resolve_toolchain
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain, python_of, python_tag, toolchain_key
from onnxbuild.runners import pip_output
from onnxbuild.runners.environments import Unlocked, Unusable
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.toolchains.existing_interpreter import Interpreter
from onnxbuild.runners.toolchains.locked_environment import Locked
from onnxbuild.steps import KINDS

MANIFEST = """\
onnxbuild: 1
toolchains:
  old: {requirements: ["iniconfig==2.0.0"]}
  never-used: {requirements: ["no-such-distribution-at-all"]}
targets: {fp32: {}}
models:
  bert: {source: random:bert, task: fill-mask, toolchain: old, targets: [fp32]}
"""

MADE = [
    "creating toolchain `old`: 2 packages",
    "fetching iniconfig (1 of 2)",
    "fetching msgspec (2 of 2)",
    "installing 2 packages",
]


def run(command, on_line):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        on_line(line)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def locked() -> LockedToolchain:
    return resolve_toolchain("old", ["iniconfig==2.0.0"])


@pytest.mark.heavy
def test_requirements_become_packages_with_hashes(locked: LockedToolchain) -> None:
    assert [package.name for package in locked.packages] == ["iniconfig", "msgspec"]
    assert locked.version("Iniconfig") == "2.0.0"
    assert locked.version("torch") == "absent"
    assert all(len(package.sha256) == 64 for package in locked.packages)


@pytest.mark.heavy
def test_an_environment_is_made_once_and_again_when_it_was_left_half(locked: LockedToolchain, tmp_path: Path) -> None:
    said: list[str] = []

    def use(name: str) -> str:
        environment = Locked(name, locked, tmp_path)
        try:
            return environment.interpreter(said.append, run)
        finally:
            environment.close()

    python = use("old")
    assert said == MADE
    version = subprocess.run([python, "-I", "-c", "import iniconfig, msgspec"], check=False)
    assert version.returncode == 0
    assert use("other-name") == python
    assert said == MADE
    (tmp_path / "toolchains" / locked.digest / ".whole").unlink()
    assert use("old") == python
    assert said == [*MADE, "creating toolchain `old` again: its creation was interrupted", *MADE]


@pytest.mark.heavy
def test_a_file_that_is_not_the_locked_one_is_refused(locked: LockedToolchain, tmp_path: Path) -> None:
    changed = LockedToolchain(tuple(LockedPackage(p.name, p.version, "0" * 64) for p in locked.packages))
    with pytest.raises(Unusable) as error:
        Locked("old", changed, tmp_path).interpreter(lambda _text: None, run)
    assert error.value.failure.code == "OBE66"
    assert "`onnxbuild lock --upgrade`" in error.value.failure.notes[0][1]
    assert not (tmp_path / "toolchains" / changed.digest / ".whole").exists()


@pytest.mark.heavy
def test_the_lock_holds_what_models_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST)
    manifest = load_manifest("m.yaml", kinds=KINDS)
    lock = lock_for(manifest)
    assert list(lock.toolchains) == [toolchain_key(["iniconfig==2.0.0"])]
    assert read_lock(Path("onnxbuild.lock")) == lock
    assert lock_for(manifest, offline=True) == lock
    assert "://" not in Path("onnxbuild.lock").read_text()


def test_offline_says_what_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST)
    with pytest.raises(DiagnosticError) as error:
        lock_for(load_manifest("m.yaml", kinds=KINDS), offline=True)
    assert [(one.code, one.message, str(one.span)) for one in error.value.diagnostics] == [
        ("OB049", "the toolchain `old` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:3:8")
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (["iniconfig==99"], "Could not find a version that satisfies the requirement iniconfig==99"),
        (
            ["pluggy==1.0.0", "pytest==9.0.0"],
            (
                "Cannot install pluggy==1.0.0 and pytest==9.0.0 because these package versions have conflicting "
                "dependencies"
            ),
        ),
    ],
)
def test_what_pip_cannot_resolve(requirements: list[str], message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        resolve_toolchain("old", requirements)
    assert [one.message for one in error.value.diagnostics] == [f"toolchain `old` cannot be resolved: {message}"]


class Pip:
    """Stands for the process of pip: notes how it is started, and writes the report of one package."""

    def __init__(self, url: str = "https://files.example/a-1.0-py3-none-any.whl", report: str | None = None) -> None:
        self.url, self.report = url, report

    def __call__(self, command, **more):
        self.command, self.folder = command, Path(more["cwd"])
        self.in_folder, self.environment = list(self.folder.iterdir()), more["env"]
        info = {"url": self.url, "archive_info": {"hashes": {"sha256": "0" * 64}}}
        report = {"install": [{"metadata": {"name": "a", "version": "1.0"}, "download_info": info}]}
        text = json.dumps(report) if self.report is None else self.report
        Path(command[command.index("--report") + 1]).write_text(text)
        return subprocess.CompletedProcess(command, 0, "", "")


def test_pip_gets_names_after_the_options_and_runs_isolated_in_an_empty_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    pip = Pip()
    monkeypatch.setattr(subprocess, "run", pip)
    requirements = ["evil.zip", "b[x] >=1,<2; python_version<'9'"]
    assert resolve_toolchain("t", requirements) == LockedToolchain((LockedPackage("a", "1.0", "0" * 64),))
    assert pip.command[:4] == [sys.executable, "-I", "-m", "pip"]
    assert pip.command[pip.command.index("--") :] == ["--", "evil.zip", 'b[x]<2,>=1; python_version < "9"', "msgspec"]
    options = " ".join(pip.command)
    assert "--only-binary :all: --" in options
    assert "--isolated" not in options, "the index and the certificates of the user are in pip's configuration"
    assert pip.folder != tmp_path
    assert pip.in_folder == []


def test_pip_gets_its_settings_and_no_token(monkeypatch) -> None:
    pip = Pip()
    monkeypatch.setattr(subprocess, "run", pip)
    kept = {"PIP_INDEX_URL": "https://index.example", "https_proxy": "http://proxy.example", "SSL_CERT_FILE": "/certs"}
    secret = {"HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "t", "PYTHONPATH": "/x", "GITHUB_TOKEN": "t"}
    for name, value in (kept | secret).items():
        monkeypatch.setenv(name, value)
    resolve_toolchain("t", ["a"])
    assert kept.items() <= pip.environment.items()
    assert not secret.keys() & pip.environment.keys()


@pytest.mark.parametrize("report", ["", "[]", '{"install": [{"metadata": {"name": 1}}]}'])
def test_a_report_of_another_form_is_a_fault(monkeypatch, report) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(report=report))
    with pytest.raises(DiagnosticError, match="OB105 toolchain `t` cannot be resolved: pip gave no report"):
        resolve_toolchain("t", ["a"])


def test_a_python_that_does_not_start_is_a_fault(monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(
        DiagnosticError, match="OB105 toolchain `t` cannot be resolved: /no/such/python cannot be started"
    ):
        resolve_toolchain("t", ["a"])


@pytest.mark.parametrize(
    ("errors", "hint"),
    [
        ("ERROR: Could not find a version that satisfies the requirement x (from versions: none)",
         "; a package without a wheel has to be named in the toolchain's `sdist:`"),
        ("ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 1.0)", ""),
        ("ERROR: ResolutionImpossible: see", None),
    ],
)  # fmt: skip
def test_the_advice_after_a_resolution_that_failed(monkeypatch, errors, hint) -> None:
    failed = subprocess.CompletedProcess([], 1, "", errors)
    monkeypatch.setattr(subprocess, "run", lambda *_arguments, **_more: failed)
    with pytest.raises(DiagnosticError) as error:
        resolve_toolchain("t", ["x"])
    usual = f"check the requirements, and which wheels `pip download` finds for Python {platform.python_version()}"
    apart = "the requirements of one toolchain must be compatible: give the other model its own toolchain"
    assert error.value.diagnostics[0].notes == (("hint", apart if hint is None else f"{usual}{hint}"),)


def test_an_interpreter_without_pip_gets_one_for_the_resolution(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("onnxbuild.planning.pinned.resolution._has_pip", lambda: False)
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_more: commands.append(command))
    with _pip() as pip:
        assert commands == [[sys.executable, "-I", "-m", "venv", pip[0].rpartition("/bin/")[0]]]
        assert pip[1:] == ["-I", "-m", "pip"]


def test_only_a_package_that_the_manifest_names_is_built_from_source(monkeypatch) -> None:
    pip = Pip(url="https://files.example/a-1.0.tar.gz")
    monkeypatch.setattr(subprocess, "run", pip)
    locked = resolve_toolchain("t", ["a"], ["a"])
    assert locked.packages == (LockedPackage("a", "1.0", "0" * 64, sdist=True),)
    assert "--only-binary :all: --no-binary a --" in " ".join(pip.command)
    assert toolchain_key(["a"], ["a"]) == f"{toolchain_key(['a'])} (sdist: a)"


def test_a_pip_in_the_working_folder_does_not_run(monkeypatch, tmp_path) -> None:
    (tmp_path / "pip").mkdir()
    for name in ("pip/__init__.py", "json.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with _pip() as pip:
        done = subprocess.run([*pip, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pip ")
    assert not (tmp_path / "ran").exists()


def test_an_environment_is_created_by_isolated_interpreters_from_wheels_with_hashes(tmp_path) -> None:
    commands: list[list[str]] = []

    def note(command, on_line):
        commands.append(list(command))
        return (0 if "venv" in command else 1), "ERROR: no"

    packages = (LockedPackage("a", "1.0", "0" * 64), LockedPackage("b", "2.0", "1" * 64, sdist=True))
    with pytest.raises(Unusable):
        Locked("t", LockedToolchain(packages), tmp_path).interpreter(lambda _text: None, note)
    assert [command[1:4] for command in commands] == [["-I", "-m", "venv"], ["-I", "-m", "pip"]]
    options = " ".join(commands[1])
    assert "--only-binary :all: --no-binary b" in options
    assert {"--require-hashes", "--no-deps"} <= set(commands[1])
    (requirements,) = tmp_path.glob("toolchains/*/requirements.txt")
    assert requirements.read_text() == f"a==1.0 --hash=sha256:{'0' * 64}\nb==2.0 --hash=sha256:{'1' * 64}\n"


def test_the_digest_of_wheels_is_what_it_was_before_there_were_others() -> None:
    locked = LockedToolchain((LockedPackage("a", "1.0", "0" * 64),))
    before = {"packages": [{"name": "a", "version": "1.0", "sha256": "0" * 64}], "python": python_tag()}
    assert locked.digest == digest_value(before)


def test_another_interpreter_tells_what_it_has() -> None:
    there = Interpreter("here", sys.executable)
    assert there.version("PyYAML") == there.version("pyyaml") != "absent"
    assert there.version("no-such-distribution") == "absent"
    assert there.interpreter(lambda _text: None, run) == sys.executable
    assert sys.executable in there.watched()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ERROR: Cannot install a==1 and a==2 because these package versions have conflicting dependencies.", "OBE12"),
        ("ERROR: No matching distribution found for a==1", "OBE66"),
    ],
)
def test_what_cannot_be_installed(tmp_path: Path, said: str, code: str) -> None:
    packages = LockedToolchain((LockedPackage("a", "1", "0" * 64),))
    with pytest.raises(Unusable) as error:
        Locked("old", packages, tmp_path).interpreter(lambda _text: None, lambda *_command: (1, f"Looking\n{said}\n"))
    assert (error.value.failure.code, error.value.failure.message) == (
        code,
        f"toolchain `old` cannot be installed: {said.removeprefix('ERROR: ')}",
    )


PIP = """\
import sys
from pathlib import Path
print("Collecting torch==2.13.0 (line 1)", flush=True)
print("  Downloading torch-2.13.0.whl (899.7 MB)", flush=True)
assert sys.stdin.read() == ""
print("Processing /index/1-2/onnx_ir-0.1.9-py3-none-any.whl (from -r /x-3/r.txt (line 2))", flush=True)
print("Collecting onnx==1.23.2 (line 3)", flush=True)
print("  Using cached onnx-1.23.2.whl (17.1 MB)", flush=True)
print("Installing collected packages: torch, onnx_ir, onnx", flush=True)
sys.exit(int(sys.argv[1]))
"""
COLLECTED = ["fetching torch (1 of 3)", "fetching onnx_ir (2 of 3)", "fetching onnx (3 of 3)", "installing 3 packages"]


@pytest.mark.parametrize("status", [0, 7])
def test_a_command_reports_each_line_as_pip_prints_it(status: int) -> None:
    said: list[str] = []
    runner = LocalRunner()
    try:
        ended, output = runner._run_command(
            [sys.executable, "-c", PIP, str(status)], pip_output.Counter(3, said.append)
        )
    finally:
        runner.close()
    assert (ended, said, len(output.splitlines())) == (status, COLLECTED, 6)
    assert pip_output.reason(output) == "no reason given"


def test_a_line_is_reported_while_the_command_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = "import os, sys, time\nprint('first', flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    runner = LocalRunner()
    try:
        ended = runner._run_command([sys.executable, "-c", waits, str(gate)], lambda _line: gate.touch())
    finally:
        runner.close()
    assert ended == (0, "first\n")


def test_the_end_of_a_run_ends_a_command_that_prints() -> None:
    runner = LocalRunner()
    endless = "import time\nprint('Collecting torch', flush=True)\ntime.sleep(3600)"
    with ThreadPoolExecutor(1) as threads:
        closing: list[Future[None]] = []
        status, output = runner._run_command(
            [sys.executable, "-c", endless], lambda _line: closing.append(threads.submit(runner.close))
        )
    assert (status != 0, output, [one.exception() for one in closing]) == (True, "Collecting torch\n", [None])


def test_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(Unusable) as error:
        Interpreter("gone", "/nowhere/python").identity()
    assert str(error.value) == "the interpreter of toolchain `gone` cannot be started: /nowhere/python"


def test_a_toolchain_that_nobody_has_resolved() -> None:
    assert Unlocked("new").version("torch") == "not locked"
    with pytest.raises(Unusable):
        Unlocked("new").interpreter(lambda _text: None, run)


def test_what_is_locked_is_announced_and_a_fault_of_it_has_its_place(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST.replace('["iniconfig==2.0.0"]', '["a", "b>=1"]'))
    manifest = load_manifest("m.yaml", kinds=KINDS)
    pip = Pip()
    monkeypatch.setattr(subprocess, "run", pip)
    said: list[str] = []
    lock = lock_for(manifest, say=said.append)
    assert said == ["resolving toolchain `old`: a, b>=1"]
    assert list(lock.toolchains) == [toolchain_key(["b>=1", "a"])]
    assert pip.command[4:-4] == [
        "install", "--quiet", "--dry-run", "--ignore-installed", "--no-input", "--disable-pip-version-check",
        "--report", pip.command[11], "--only-binary", ":all:",
    ]  # fmt: skip
    Path("onnxbuild.lock").unlink()
    monkeypatch.setattr(subprocess, "run", lambda command, **_more: subprocess.CompletedProcess(command, 1, "", ""))
    with pytest.raises(DiagnosticError) as error:
        lock_for(manifest)
    assert [(one.code, one.message, str(one.span)) for one in error.value.diagnostics] == [
        ("OB105", "toolchain `old` cannot be resolved: pip gave no reason", "m.yaml:3:8")
    ]
    assert not Path("onnxbuild.lock").exists()


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ("WARNING: x\nERROR: one.\nERROR: two", "one"),
        ("ERROR: No x (from versions: 1, 2)\nERROR: y", "No x"),
        ("ERROR: Ignored the following versions: 1\nERROR: y", "y"),
        ("ERROR: ResolutionImpossible: see\nERROR: y", "y"),
        ("no line that says so", "pip gave no reason"),
    ],
)
def test_the_first_line_of_pip_that_tells_something_is_the_reason(monkeypatch, errors, reason) -> None:
    failed = subprocess.CompletedProcess([], 1, "", errors)
    monkeypatch.setattr(subprocess, "run", lambda *_arguments, **_more: failed)
    with pytest.raises(DiagnosticError) as error:
        resolve_toolchain("t", ["x"])
    assert [one.message for one in error.value.diagnostics] == [f"toolchain `t` cannot be resolved: {reason}"]


def test_packages_are_in_the_order_of_their_normalized_names(monkeypatch) -> None:
    info = {"url": "x.whl", "archive_info": {"hashes": {"md5": "1", "sha256": "0" * 64}}}
    names = ("Zope_a", "b", "A.c", "zope-b")
    installed = [{"metadata": {"name": name, "version": "1"}, "download_info": info} for name in names]
    installed.append({"metadata": {"name": "from-a-folder", "version": "1"}, "download_info": {}})
    monkeypatch.setattr(subprocess, "run", Pip(report=json.dumps({"install": installed})))
    packages = resolve_toolchain("t", ["x"]).packages
    assert [one.name for one in packages] == ["A.c", "b", "from-a-folder", "Zope_a", "zope-b"]
    assert packages[2] == LockedPackage("from-a-folder", "1", "", sdist=True)
    assert packages[0] == LockedPackage("A.c", "1", "0" * 64)


def test_pip_of_the_user_or_of_another_folder_does_not_count(monkeypatch, tmp_path) -> None:
    mine, users = tmp_path / "site-packages", tmp_path / "user" / "site-packages"
    for folder in (mine, users, tmp_path / "code"):
        (folder / "pip").mkdir(parents=True)
        (folder / "pip" / "__init__.py").touch()
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(users))
    for path, found in (([str(users)], False), ([str(tmp_path / "code")], False), ([str(users), str(mine)], True)):
        monkeypatch.setattr(sys, "path", path)
        assert resolution._has_pip() is found


PASSED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "NETRC", "HTTPS_PROXY", "no_proxy", "CC", "LDFLAGS", "PIP_NO_INDEX",
          "PIP_CERT", "LC_ALL", "XDG_CONFIG_HOME", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "APPDATA")  # fmt: skip


@pytest.mark.parametrize("name", PASSED)
def test_each_setting_reaches_pip(name) -> None:
    assert of_pip({name: "x", "SECRET": "y", "MY_PIP_X": "z", "ONNXBUILD_X": "z", "PYTHONPATH": "z"}) == {name: "x"}


def test_the_names_of_a_toolchain_do_not_depend_on_order_or_spelling() -> None:
    tag = f"cpython-{sys.version_info.major}.{sys.version_info.minor} {sysconfig.get_platform()}"
    assert python_tag() == tag.replace("cpython", sys.implementation.name)
    assert toolchain_key(["b", "a"]) == f"{python_tag()}: a b"
    assert toolchain_key(["a"], ["y", "x"]) == f"{python_tag()}: a (sdist: x y)"
    one = LockedToolchain((LockedPackage("Zope._-A", "1", "0" * 64), LockedPackage("b", "2", "0" * 64)))
    assert (one.version("zope-a"), one.version("B"), one.version("zope")) == ("1", "2", "absent")
    assert one.digest == one.digest_for(python_tag()) != one.digest_for("cpython-9.9 linux")


@pytest.mark.parametrize(
    ("system", "parts"),
    [("win32", ("Scripts", "python.exe")), ("linux", ("bin", "python")), ("darwin", ("bin", "python"))],
)
def test_the_interpreter_of_an_environment_is_where_the_system_has_it(monkeypatch, system, parts) -> None:
    monkeypatch.setattr("onnxbuild.planning.toolchains.sys.platform", system)
    assert python_of(Path("env")).parts == ("env", *parts)
