"""Every code has a manifest with the fault, one without it, and the whole text that a person sees."""

import re
import shlex
from pathlib import Path

import pytest

from onnxbuild.commands.lint import lint
from onnxbuild.machine import Machine
from onnxbuild.report.render_diagnostics import render
from onnxbuild.rules import ALL
from onnxbuild.rules.rule import described
from onnxbuild.steps import KINDS

HERE = Path(__file__).parent
MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
CASES = sorted(path.parent.name for path in HERE.glob("*/bad.yaml"))
# Lint of a single manifest cannot find these; where each is tested instead.
ELSEWHERE = {
    "OB802": "tests/commands/test_compiled_targets.py",
    # A machine without the compiler warns of each good example: OB802.
    **dict.fromkeys((f"OB{number}" for number in range(810, 816)), "tests/steps/test_qaic_params.py"),
    "OB785": "tests/commands/test_publish.py",
    "OB787": "tests/commands/test_publish.py",
    "OB776": "tests/commands/test_convert_js.py",
    "OB031": "tests/planning/test_lock.py",
    "OB646": "tests/commands/test_refusals.py",
    "OB647": "tests/commands/test_refusals.py",
    "OB040": "tests/transcripts/mistakes.txt",
    "OB041": "tests/transcripts/mistakes.txt",
    "OB042": "tests/transcripts/mistakes.txt",
    "OB043": "tests/steps",
    "OB045": "tests/store",
    "OB046": "tests/store",
    "OB047": "tests/commands",
    "OB049": "tests/planning/test_toolchains.py",
    "OB050": "tests/manifest/test_manifest_file.py",
    "OB051": "tests/rules/test_warnings_of_a_run.py",
    "OB062": "tests/commands/test_state.py",
    "OB064": "tests/commands/test_state.py",
    "OB076": "tests/store/test_signed.py",
    "OB078": "tests/store/test_remote_shape.py",
    "OB070": "tests/store/test_marker.py",
    "OB071": "tests/store/test_marker.py",
    "OB072": "tests/store/test_marker.py",
    "OB063": "tests/test_permissions.py",
    **dict.fromkeys(("OB085", "OB086", "OB087", "OB088"), "tests/commands/test_boundary.py"),
    "OB090": "tests/commands/test_out_folders_of_runs.py",
    "OB091": "tests/commands/test_out_folders_of_runs.py",
    "OB092": "tests/commands/test_report.py",
    "OB093": "tests/commands/test_report.py",
    "OB695": "tests/commands/test_report.py",
    "OB710": "tests/commands/test_outdated.py",
    "OB711": "tests/commands/test_card.py",
    "OB080": "tests/planning/test_interpreters.py",
    "OB105": "tests/planning",
    "OB639": "tests/commands/test_compare_exporters.py",
    **dict.fromkeys(("OB670", "OB671"), "tests/commands/test_blame.py"),
    **dict.fromkeys(("OB680", "OB683", "OB684"), "tests/commands/test_view.py"),
    **dict.fromkeys(("OB681", "OB682"), "tests/commands/test_card.py"),
    **dict.fromkeys((f"OB{number}" for number in range(739, 750)), "tests/serve"),
    **dict.fromkeys(("OB700", "OB701"), "tests/commands/test_report.py"),
    "OB750": "tests/deliver/test_folder_check.py",
    **dict.fromkeys(("OB751", "OB752", "OB753", "OB754"), "tests/commands/test_verify.py"),
    "OB110": "tests/planning/test_hub.py",
    "OB111": "tests/planning/test_lock.py",
    "OB340": "tests/rules/test_installed.py",
}


def faults(name):
    first = Path(name).read_text(encoding="utf-8").splitlines()[0]
    selectors = shlex.split(first.removeprefix("# selectors:")) if first.startswith("# selectors:") else []
    return lint(name, MACHINE, selectors=selectors, kinds=KINDS)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("REPO", raising=False)
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH", raising=False)
    installed = {"transformers": "4.57.6", "optimum": "2.1.0", "torch": "2.13.0", "sentence-transformers": "5.7.0"}
    monkeypatch.setattr("onnxbuild.planning.known_versions._installed", lambda _path: installed)


@pytest.mark.parametrize("code", CASES)
def test_bad(code, monkeypatch, agrees):
    monkeypatch.chdir(HERE / code)
    diagnostics = faults("bad.yaml")
    agrees(
        HERE / code / "expected.txt",
        render(diagnostics, "text").replace(str(HERE / code), "<here>").replace(str(HERE), "<rules>"),
    )
    assert code in {one.code for one in diagnostics}


@pytest.mark.parametrize("code", CASES)
def test_good(code, monkeypatch):
    monkeypatch.chdir(HERE / code)
    assert render(faults("good.yaml"), "text") == ""


def test_every_code_of_lint_has_its_fixture():
    assert {code for code in ALL if not code.startswith("OBE")} == {*CASES, *ELSEWHERE}


def test_every_code_in_the_source_has_its_page():
    package = HERE.parents[1] / "onnxbuild"
    raised = {
        code
        for path in package.rglob("*.py")
        if path.parent.name != "rules"
        for code in re.findall(r'"(OBE?\d+)"', path.read_text(encoding="utf-8"))
    }
    assert sorted(raised - set(ALL)) == []


@pytest.mark.parametrize("rule", ALL.values(), ids=lambda rule: rule.code)
def test_page(rule):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert rule.summary.endswith(".")
    assert "\n" not in rule.summary + rule.why + rule.fix
    assert rule.why or rule.fix or rule.bad or rule.summary


def test_names_are_unique():
    assert len({rule.name for rule in ALL.values()}) == len(ALL)


def test_a_page_is_read_from_its_text():
    rule = described(
        "OB999",
        "toy",
        """
        A toy
        of two lines.

        Why: because
        of that.
        Bad:
            a:
              b: 1
        Good:
            a: 1
        """,
    )
    assert (rule.summary, rule.why, rule.bad, rule.good, rule.fix) == (
        "A toy of two lines.",
        "because of that.",
        "a:\n  b: 1",
        "a: 1",
        "",
    )
