"""The parts of confinement on any system: which calls the filter refuses, which folders are permitted, the words."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

from onnxbuild.confinement import confine, landlock, places, seccomp

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these calls nor these folders")

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 13
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
X86, ARM = 0xC000003E, 0xC00000B7


def filtered(program: bytes, architecture: int, number: int) -> int:
    """What the kernel does with a system call: it runs the filter on the call's number and architecture."""
    data = {0: number, 4: architecture}
    lines = list(struct.iter_unpack("=HBBI", program))
    place = held = 0
    while True:
        code, if_true, if_false, value = lines[place]
        place += 1
        if code == RETURN:
            return value
        if code == LOAD:
            held = data[value]
        else:
            holds = {EQUAL: held == value, AT_LEAST: held >= value}[code]
            place += if_true if holds else if_false


CALLS = {
    "x86_64": (X86, {"socket": 41, "ptrace": 101, "keyctl": 250, "add_key": 248, "request_key": 249,
                     "process_vm_readv": 310, "process_vm_writev": 311, "io_uring_setup": 425}),
    "aarch64": (ARM, {"socket": 198, "ptrace": 117, "keyctl": 219, "add_key": 217, "request_key": 218,
                      "process_vm_readv": 270, "process_vm_writev": 271, "io_uring_setup": 425}),
}  # fmt: skip


@pytest.mark.parametrize("machine", CALLS)
def test_the_filter_refuses_these_calls_and_no_others(machine: str) -> None:
    architecture, refused = CALLS[machine]
    program = seccomp._instructions(*seccomp._NUMBERS[machine])
    verdicts = {number: filtered(program, architecture, number) for number in range(600)}
    assert {number for number, verdict in verdicts.items() if verdict == REFUSE} == set(refused.values())
    assert set(verdicts.values()) == {ALLOW, REFUSE}


@pytest.mark.parametrize("number", [0, 41, 0x40000000, 0x40000029])
def test_calls_by_another_table_are_refused_whatever_they_are(number: int) -> None:
    program = seccomp._instructions(*seccomp._NUMBERS["x86_64"])
    assert filtered(program, 0x40000003, number) == REFUSE  # of 32 bits
    assert filtered(program, X86, 0x40000000 + number % 0x40000000) == REFUSE  # x32
    assert filtered(program, X86, 0x3FFFFFFF) == ALLOW


@pytest.mark.parametrize(
    ("version", "with_seccomp", "words"),
    [
        (6, True, "Landlock 6 and seccomp"),
        (7, False, "Landlock 7, without UDP"),
        (5, True, "Landlock 5 and seccomp, without signals"),
        (4, False, "Landlock 4, without UDP, signals"),
        (3, False, "Landlock 3, without UDP, TCP, signals"),
        (3, True, "Landlock 3 and seccomp, without signals"),
        (0, True, ""),
    ],
)
def test_what_would_be_in_force_is_said_in_words(monkeypatch, version: int, words: str, *, with_seccomp: bool) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: version)
    monkeypatch.setattr(seccomp, "is_available", lambda: with_seccomp)
    assert confine.available() == words


@pytest.fixture
def restricted(monkeypatch, tmp_path: Path) -> dict[str, object]:
    """What the kernel is asked for, on a system with Landlock 6 and seccomp."""
    asked: dict[str, object] = {"seccomp": 0}

    def restrict(rules, *, network: bool) -> None:
        asked["rules"], asked["network"] = list(rules), network

    def filter_calls() -> bool:
        asked["seccomp"] = 1
        return True

    monkeypatch.setattr(landlock, "abi", lambda: 6)
    monkeypatch.setattr(landlock, "restrict", restrict)
    monkeypatch.setattr(seccomp, "restrict", filter_calls)
    monkeypatch.setattr(os, "environ", {"PATH": "/bin", "HF_HUB_CACHE": "/x", "HF_MODULES_CACHE": "/x", "HOME": "/root",
                                        "XDG_CONFIG_HOME": "/x", "XDG_DATA_HOME": "/x", "XDG_STATE_HOME": "/x",
                                        "SSL_CERT_FILE": "/certificates"})  # fmt: skip
    return asked


def variables() -> dict[str, str]:
    """The environment, without what pytest writes there."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


HOMES = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR"), "/scratch")


def test_without_the_network_an_action_has_its_folders_and_no_home(restricted, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("/elsewhere/weights")
    folder = str(tmp_path / "in")
    assert confine.confine([folder], ["/out"], "/scratch", "/log") == "Landlock 6 and seccomp"
    assert variables() == {"PATH": "/bin", "SSL_CERT_FILE": "/certificates", "HF_HUB_OFFLINE": "1", **HOMES}
    rules = restricted["rules"]
    assert (restricted["network"], restricted["seccomp"]) == (False, 1)
    assert {path: right for path, right in rules if right == landlock.WRITE_WITHOUT_LINKS} == {
        "/out": landlock.WRITE_WITHOUT_LINKS
    }
    assert {path for path, right in rules if right == landlock.WRITE} == {"/scratch", "/log", "/dev/shm"}
    readable = {path for path, right in rules if right == landlock.READ}
    assert {folder, "/elsewhere/weights", "/usr", sys.prefix} <= readable
    assert not readable & {"/", "/etc", "/root", "/home", "/etc/hosts", "/certificates", "/proc", "/tmp"}
    assert ("/dev/null", landlock.USE_DEVICE) in rules


def test_with_the_network_an_action_also_reads_names_and_certificates(restricted) -> None:
    assert confine.confine([], [], "/scratch", "/log", network=True) == "Landlock 6, with the network"
    assert variables() == {"PATH": "/bin", "SSL_CERT_FILE": "/certificates", **HOMES}
    assert (restricted["network"], restricted["seccomp"]) == (True, 0)
    readable = {path for path, right in restricted["rules"] if right == landlock.READ}
    assert {"/etc/hosts", "/etc/resolv.conf", "/certificates"} <= readable


def test_without_landlock_nothing_changes(restricted, monkeypatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    before = dict(os.environ)
    assert confine.confine([], [], "/scratch", "/log") == ""
    assert (dict(os.environ), restricted) == (before, {"seccomp": 0})


def test_the_libraries_that_the_environment_names_and_editable_sources_can_be_read(monkeypatch) -> None:
    finder = ModuleType("__editable___mine_finder")
    finder.MAPPING = {"mine": "/projects/mine"}
    monkeypatch.setitem(sys.modules, "__editable___mine_finder", finder)
    monkeypatch.setitem(sys.modules, "__editable___without", ModuleType("__editable___without"))
    found = set(places.readable({"LD_LIBRARY_PATH": os.pathsep.join(["/cuda/lib", "", "/other/lib"])}))
    assert {"/cuda/lib", "/other/lib", "/projects/mine", str(Path(places.__file__).parents[1])} <= found
    assert "" not in found
    assert {path for path in sys.path if path} <= found


def test_only_links_lead_out_of_an_input(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "target").write_text("")
    (tmp_path / "a" / "file").write_text("")
    (tmp_path / "a" / "deep" / "link").symlink_to(tmp_path / "target")
    assert list(places.link_targets(str(tmp_path / "a"))) == [os.path.realpath(tmp_path / "target")]
