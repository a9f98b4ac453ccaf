"""What a worker sees of the environment, which actions share a worker, and how its interpreter starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from plugin.world import World

from onnxbuild.passed_variables import SYSTEM, matches, of_pip
from onnxbuild.planning.pinned import resolution
from onnxbuild.runners import keeper, worker_environment
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.worker_environment import import_folders, of_worker, start_options
from onnxbuild.steps import KINDS
from onnxbuild.steps.kind import runs_others_code

TOKENS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_ENDPOINT",
)
NEVER = ("LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT", "DYLD_INSERT_LIBRARIES")
OTHERS = ("GITHUB_TOKEN", "SSH_AUTH_SOCK", "MY_PASSWORD", "DATABASE_URL", "DOCKER_HOST", "ONNXBUILD_REMOTE", "NETRC")
NEEDED = ("PATH", "HOME", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "MKL_NUM_THREADS",
          "HF_HOME", "HF_HUB_OFFLINE", "TORCHINDUCTOR_CACHE_DIR", "SYSTEMROOT", "ONNXBUILD_CONFINE")  # fmt: skip
PROXIES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
VALUE = os.path.abspath("value")


def everything() -> dict[str, str]:
    return dict.fromkeys((*TOKENS, *NEVER, *OTHERS, *NEEDED, *PROXIES), VALUE)


def test_a_worker_sees_what_it_needs_and_no_more() -> None:
    seen = of_worker(everything(), 3, network=False)
    assert {name for name, value in seen.items() if value == VALUE} == set(NEEDED)
    assert seen["OMP_NUM_THREADS"] == "3"
    assert seen["PYTHONHASHSEED"] == "0"
    assert [name for name in seen if name.startswith("PYTHON")] == ["PYTHONHASHSEED"]


def test_a_worker_with_the_network_sees_tokens_and_proxies_too() -> None:
    seen = of_worker(everything(), 1, network=True)
    assert {name for name, value in seen.items() if value == VALUE} == {*NEEDED, *TOKENS, *PROXIES}


def test_a_worker_searches_the_folders_that_the_command_searches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"PATH": os.pathsep.join(["bin", VALUE, ""]), "LD_LIBRARY_PATH": f"lib{os.pathsep}", "HOME": "home"}
    seen = of_worker(given, 1, network=False)
    assert seen["PATH"] == os.pathsep.join([str(tmp_path / "bin"), VALUE, str(tmp_path)])
    assert (seen["LD_LIBRARY_PATH"], seen["HOME"]) == (str(tmp_path / "lib"), "home")
    assert of_worker({"PATH": ""}, 1, network=False)["PATH"] == ""


def test_a_command_that_creates_an_environment_sees_the_settings_of_pip_and_no_token() -> None:
    seen = of_pip(everything() | {"PIP_INDEX_URL": "value", "CC": "value", "CFLAGS": "value"})
    assert {"PIP_INDEX_URL", "NETRC", "CC", "CFLAGS", *PROXIES} <= set(seen)
    assert not set(seen) & {*TOKENS, *NEVER}


def test_lock_and_run_give_pip_the_same_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that `lock` could build with the compiler of the user must be built with it by `run`, too."""
    given: list[object] = []
    stop = RuntimeError()

    def seen(_command: object, **options: object) -> None:
        given.append(options["env"])
        raise stop

    for name, value in (everything() | {"CC": "mine", "PIP_INDEX_URL": "value"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(subprocess, "run", seen)
    monkeypatch.setattr(subprocess, "Popen", seen)
    with pytest.raises(RuntimeError):
        resolution._finished(["pip"], str(tmp_path))
    runner = LocalRunner({})
    monkeypatch.setattr(runner, "_keep", lambda: None)
    with pytest.raises(RuntimeError):
        runner._start_command(["pip"])
    of_lock, of_run = given
    of_run.pop(keeper.MARK)
    assert of_lock == of_run
    assert (of_lock["CC"], "HF_TOKEN" in of_lock) == ("mine", False)


def test_the_user_can_pass_on_further_variables_but_none_that_choose_code() -> None:
    asked = everything() | {"ONNXBUILD_WORKER_ENV": "MY_PASSWORD, LD_PRELOAD,PYTHONPATH,,GITHUB_*"}
    added = set(of_worker(asked, 1, network=False)) - set(of_worker(everything(), 1, network=False))
    assert added == {"MY_PASSWORD", "GITHUB_TOKEN"}


def test_the_number_of_threads_of_the_user_is_kept() -> None:
    assert of_worker({"OMP_NUM_THREADS": "7"}, 2, network=False)["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("name", [n for n in NEVER if n != "DYLD_INSERT_LIBRARIES"])
def test_no_pattern_of_ours_takes_a_variable_that_chooses_code(name: str) -> None:
    assert not matches(name, (*SYSTEM, *worker_environment._FRAMEWORKS))


def test_our_own_interpreter_imports_from_the_folders_of_pythonpath_and_no_other_does(tmp_path: Path) -> None:
    """A relative folder is left out, and an empty entry, which stands for the working folder."""
    path = os.pathsep.join([str(tmp_path), "", "relative", "."])
    assert import_folders(sys.executable, {"PYTHONPATH": path}) == [str(tmp_path)]
    assert import_folders("/another/python", {"PYTHONPATH": path}) == []


@pytest.mark.parametrize("enabled", [True, False])
def test_the_packages_of_the_user_are_found_where_the_command_finds_them(monkeypatch, *, enabled: bool) -> None:
    monkeypatch.setattr("site.ENABLE_USER_SITE", enabled)
    assert ("-s" in start_options(sys.executable)) is not enabled
    assert "-s" in start_options("/another/python")
    assert "-P" in start_options(sys.executable)


def test_a_worker_starts_as_the_command_did_where_variables_cannot_say_so(monkeypatch) -> None:
    """The command was started with PYTHONDONTWRITEBYTECODE and PYTHONUTF8; a worker does not see these variables."""
    flags = SimpleNamespace(utf8_mode=1, ignore_environment=0)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "flags", flags)
    assert start_options("/another/python") == ["-P", "-u", "-s", "-B", "-X", "utf8"]
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    flags.utf8_mode = 0
    assert start_options("/another/python") == ["-P", "-u", "-s"]
    flags.ignore_environment = 1
    assert import_folders(sys.executable, {"PYTHONPATH": "/folder"}) == []


def test_moved_packages_of_the_user_are_found_without_the_variable(monkeypatch) -> None:
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    monkeypatch.setattr("site.getusersitepackages", lambda: "/moved/site-packages")
    moved = {"PYTHONUSERBASE": "/moved"}
    assert import_folders(sys.executable, moved) == ["/moved/site-packages"]
    assert import_folders("/another/python", moved) == []
    assert import_folders(sys.executable, {}) == []


def test_a_module_in_the_working_folder_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the module of the working folder')")
    command = [sys.executable, *start_options(sys.executable), "-c", "import json, sys; print(len(sys.path))"]
    environment = of_worker({**os.environ, "PYTHONPATH": str(tmp_path)}, 1, network=False)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- in real processes -------------------------------------------------------------------------------------------------

# Backwards, because a secret that a worker reports is masked.
LOOK = "import os; got.update({n: os.environ.get(n, '')[::-1] for n in ('HF_TOKEN', 'MY_PASSWORD', 'PYTHONPATH')})"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.environment |= {"HF_TOKEN": "hf_secret", "MY_PASSWORD": "password"}
    return world


def built(world: World, kind: str, steps: dict[str, list[dict]], *arguments: str) -> dict[str, dict]:
    world.manifest(steps, kind=kind)
    ended = world.run("--json", *arguments)
    assert ended.code == 0, ended
    return {name: one["facts"] for name, one in ended.actions().items() if one["kind"] == kind}


@pytest.mark.parametrize(("kind", "token"), [("stranger", ""), ("friend", ""), ("messenger", "terces_fh")])
def test_only_a_worker_with_the_network_has_the_token(world: World, kind: str, token: str) -> None:
    facts = built(world, kind, {"a": [{"code": LOOK}]})
    assert facts[f"m/a:{kind}"]["got"] == {"HF_TOKEN": token, "MY_PASSWORD": "", "PYTHONPATH": ""}


def test_a_worker_that_has_seen_a_token_gets_no_action_without_the_network(world: World) -> None:
    steps = {"a": {"steps": [{"messenger": {"text": "1"}}, {"friend": {"text": "2"}}, {"messenger": {"text": "3"}},
                             {"friend": {"text": "4"}}]}}  # fmt: skip
    path = world.manifest({"a": []})
    text = path.read_text().replace('{"a": {"steps": []}}', json.dumps(steps))
    assert "messenger" in text
    path.write_text(text)
    ended = world.run("--json", "-j", "1")
    assert ended.code == 0, ended
    pids: dict[str, set[int]] = {"messenger": set(), "friend": set()}
    for one in ended.actions().values():
        if one["kind"] in pids:
            pids[one["kind"]].add(one["facts"]["pid"])
    assert [len(found) for found in pids.values()] == [1, 1]  # each is reused
    assert not pids["messenger"] & pids["friend"]


def test_a_worker_ends_after_it_ran_somebody_elses_code(world: World) -> None:
    """A change of a library by the first would change the results of the second, under a clean key."""
    facts = built(world, "stranger", {name: [{"text": name}] for name in "abc"}, "-j", "1")
    assert [one["marks"] for one in facts.values()] == [[], [], []]
    assert len({one["pid"] for one in facts.values()}) == 3


def test_a_worker_of_pure_kinds_is_reused(world: World) -> None:
    facts = built(world, "friend", {name: [{"text": name}] for name in "abc"}, "-j", "1")
    assert sorted(len(one["marks"]) for one in facts.values()) == [0, 1, 2]


def test_somebody_elses_code_never_runs_in_a_worker_that_goes_on(world: World) -> None:
    """Neither before nor after: what it left behind would reach the next action."""
    path = world.manifest({"a": []})
    steps = [{"friend": {"text": "1"}}, {"stranger": {"text": "2"}}, {"friend": {"text": "3"}}]
    path.write_text(path.read_text().replace('"steps": []', '"steps": ' + json.dumps(steps)))
    ended = world.run("--json", "-j", "1")
    assert ended.code == 0, ended
    marks = [one["facts"]["marks"] for one in ended.actions().values() if one["kind"] != "fetch"]
    assert marks == [[], [], ["1"]]


# -- the declarations of the kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_ours_is_pure_has_a_time_limit_and_runs_code_only_where_it_is_trusted(name: str) -> None:
    kind = KINDS[name]
    assert 0 < kind.timeout_seconds <= 24 * 3600
    assert not runs_others_code(kind, {})
    assert runs_others_code(kind, {"trust_remote_code": True})


@pytest.mark.parametrize(
    ("exporter", "ours"), [("optimum", True), ("auto", True), ("mine.py:export", False), ("package.module:f", False)]
)
def test_a_custom_exporter_is_somebody_elses_code(exporter: str, *, ours: bool) -> None:
    assert runs_others_code(KINDS["export"], {"exporter": exporter}) is not ours


def test_a_kind_that_declares_nothing_is_not_pure() -> None:
    from plugin.toy_steps import FRIEND, STRANGER

    assert runs_others_code(STRANGER, {})
    assert not runs_others_code(FRIEND, {})
    assert STRANGER.timeout_seconds > 0
    assert STRANGER.network({}) is False


@pytest.mark.parametrize(("origin", "network"), [("hub", True), ("files", False), ("random", False)])
def test_a_fetch_from_the_hub_and_an_upload_need_the_network(origin: str, *, network: bool) -> None:
    assert KINDS["fetch"].network({"origin": origin}) is network
    assert [name for name, kind in KINDS.items() if kind.network({})] == ["publish"]
