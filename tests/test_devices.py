"""A device counts as there only if it is: the tool of its SDK or the file of its driver says nothing of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from devices_here import card_tool, drivers

from onnxbuild.needs import devices
from onnxbuild.needs.devices import CARD_TOOL, card_states
from onnxbuild.needs.step_needs import FILE, PROGRAM, absence, first_absent, is_on_machine
from onnxbuild.runners.programs import places_of, version_on_machine

CARD = f"{PROGRAM}{CARD_TOOL}"

# As Qualcomm's documents and its open runtime print them.
WITH_VERSIONS = """LRT QC_IMAGE_VERSION: LRT.AIC.5.2.1.5.6
LRT IMAGE_VARIANT: LRT.AIC.REL
Number of devices: 2
QID 0
        Status:Error
        PCI Address:0000:01:00.0
QID 3
        Status:Ready
        PCI Address:0000:02:00.0
        FW IMAGE_VARIANT:AIC100.REL
        Nsp Total:16
"""
PLAIN = "QID 0\n\tStatus:Ready\n\tPCI Address:0000:86:00.0\n\tBoard serial:7\nQID 1\n\tStatus:Ready\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path / "tools"


@pytest.mark.parametrize(
    ("text", "states"),
    [
        (WITH_VERSIONS, {"0": "Error", "3": "Ready"}),
        (PLAIN, {"0": "Ready", "1": "Ready"}),
        ("QID 100\n    Status: Initializing \n    Dev Status:x\n", {"100": "Initializing"}),
        ("Number of devices: 0\n", {}),
        ("Failed to query Device ID: 2\n", {}),
    ],
)
def test_the_states_of_cards_are_read_in_every_form(text: str, states: dict[str, str]) -> None:
    assert card_states(text) == states


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (PLAIN, 0, None),
        (WITH_VERSIONS, 0, None),
        ("", 0, "`qaic-util -q` finds no card"),
        ("Number of devices: 0\n", 0, "`qaic-util -q` finds no card"),
        ("QID 0\n  Status:Error\nQID 1\n  Status:Not Ready\n", 0,
         "`qaic-util -q` finds no card that is ready (0: Error, 1: Not Ready)"),
        (f"{PLAIN}\nFailed to get Runtime Platform\n\n", 255,
         "`qaic-util -q` ended with code 255: Failed to get Runtime Platform"),
        ("", 7, "`qaic-util -q` ended with code 7"),
    ],
)  # fmt: skip
def test_a_tool_without_a_card_is_no_card(tools: Path, text: str, code: int, words: str | None) -> None:
    assert version_on_machine(CARD) == "absent"
    assert absence(CARD) == "`qaic-util` is not here"
    card_tool(tools, text, code)
    assert first_absent((CARD,), lambda _name: "1.0") == (CARD if words else None)
    assert (version_on_machine(CARD) == "absent") is bool(words)
    assert absence(CARD) == (words or "`qaic-util` is not here")


def test_a_tool_that_hangs_is_ended_and_is_no_card(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ANSWER_SECONDS", 0.25)
    card_tool(tools, PLAIN, then=f"echo $$ > {tools}/number; exec sleep 60")
    assert absence(CARD) == "`qaic-util -q` gave no answer within 0.25 seconds"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tools / "number").read_text()), 0)


def test_a_tool_that_does_not_start_is_no_card(tools: Path) -> None:
    card_tool(tools).write_text("#!/nowhere/interpreter\n")
    assert absence(CARD) == "`qaic-util` does not start: No such file or directory"


def test_a_tool_is_asked_once_and_again_when_it_is_another(tools: Path) -> None:
    count = f"echo >> {tools}/asked"
    card_tool(tools, then=count)
    assert [is_on_machine(CARD), version_on_machine(CARD) == "absent", is_on_machine(CARD)] == [True, False, True]
    assert (tools / "asked").read_text() == "\n"
    tool = tools / CARD_TOOL
    tool.write_text(tool.read_text().replace("Ready", "Broken"))
    assert not is_on_machine(CARD)


def test_a_tool_gets_no_token(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    card_tool(tools, then=f"env > {tools}/env")
    assert is_on_machine(CARD)
    assert "PATH=" in (tools / "env").read_text()
    assert "hf_secret" not in (tools / "env").read_text()


def test_a_plan_depends_on_the_files_of_cards(tools: Path) -> None:
    card_tool(tools)
    assert list(places_of([CARD])) == ["/dev/accel", str(tools / CARD_TOOL)]


KFD = "/sys/class/kfd/kfd/topology/nodes"


@pytest.mark.parametrize(
    ("file", "folder", "names", "here"),
    [
        ("/dev/nvidiactl", "/dev", ("nvidiactl", "nvidia3"), True),
        ("/dev/nvidiactl", "/dev", ("nvidiactl", "nvidia-uvm", "nvidia-caps"), False),
        ("/dev/nvidiactl", "/elsewhere", (), True),  # a confined worker cannot list `/dev`
        ("/dev/dri", "/dev/dri", ("card1", "renderD128"), True),
        ("/dev/dri", "/dev/dri", ("by-path", "card0"), False),
        ("/dev/kfd", KFD, ("0", "2"), True),
        ("/dev/kfd", KFD, ("0", "1"), False),
        ("/dev/kfd", KFD, (), True),
    ],
)
def test_the_file_of_a_driver_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, file: str, folder: str, names: tuple[str, ...], *, here: bool
) -> None:
    drivers(monkeypatch, {folder: names}, file)
    numbers = {f"{KFD}/0/gpu_id": "0\n", f"{KFD}/1/gpu_id": "0\n", f"{KFD}/2/gpu_id": "4711\n"}
    monkeypatch.setattr(devices, "_text", numbers.get)
    need = f"{FILE}{file}"
    assert first_absent((need,), lambda _name: None) == (None if here else need)
    assert version_on_machine(need) == ("there" if here else "absent")
    assert here or "GPU" in absence(need)
