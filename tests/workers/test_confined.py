"""The confinement of a worker, without a system that confines: what it asks for, and how it explains a refusal."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from urllib.error import URLError

import pytest

from onnxbuild.confinement import confine
from onnxbuild.protocol import Failure, Request
from onnxbuild.workers.confined import Confinement

HINT = (
    "somebody else's code may read its inputs and installed packages and write its outputs; if you trust it, run with"
    " `ONNXBUILD_CONFINE=off`"
)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[object, ...]]:
    """What the system is asked to confine to; it answers that Landlock is in force."""
    calls: list[tuple[object, ...]] = []

    def note(inputs, outputs, scratch, log, *, network=False):
        assert Path(log).exists()  # a rule covers only what exists
        calls.append((list(inputs), list(outputs), scratch, log, network))
        return "Landlock 6"

    monkeypatch.setattr(confine, "confine", note)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv("ONNXBUILD_CONFINE", raising=False)
    return calls


def request(tmp_path: Path, **more: object) -> Request:
    settings = {"log": str(tmp_path / "log"), "scratch": "/scratch", "confined": True, **more}
    return Request(id="a", worker="", params={}, inputs={"model": "/in"}, outputs={"model": "/out"}, **settings)


@pytest.mark.parametrize("network", [True, False])
def test_an_action_is_confined_to_its_own_folders(asked, tmp_path: Path, *, network: bool) -> None:
    confinement = Confinement(request(tmp_path, network=network))
    assert asked == [(["/in"], ["/out"], "/scratch", str(tmp_path / "log"), network)]
    assert (confinement.in_force, confinement.failure) == ("Landlock 6", None)
    assert sys.dont_write_bytecode


def test_our_own_code_is_not_confined(asked, tmp_path: Path) -> None:
    confinement = Confinement(request(tmp_path, confined=False))
    assert (asked, confinement.in_force, confinement.failure) == ([], "", None)
    assert not sys.dont_write_bytecode


def test_the_user_can_switch_it_off(asked, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ONNXBUILD_CONFINE", "off")
    confinement = Confinement(request(tmp_path))
    assert (asked, confinement.in_force, confinement.failure) == ([], "", None)


@pytest.mark.parametrize("switch", ["auto", "require"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSYS, "no such call"), "no such call: {log}"),
        (OSError(errno.EACCES, "not allowed", "/in"), "not allowed: /in"),
    ],
)
def test_a_system_that_fails_to_confine_is_a_failure(asked, tmp_path, monkeypatch, error, message, switch) -> None:
    def fail(*_arguments: object, **_more: object) -> str:
        raise error

    monkeypatch.setattr(confine, "confine", fail)
    monkeypatch.setenv("ONNXBUILD_CONFINE", switch)
    confinement = Confinement(request(tmp_path))
    assert confinement.failure == Failure(code="OBE54", message=message.format(log=tmp_path / "log"))
    assert confinement.in_force == ""


@pytest.mark.parametrize(
    ("switch", "in_force", "code"),
    [("auto", "", None), ("require", "", "OBE75"), ("require", "Landlock 6", None), ("off", "", None)],
)
def test_what_is_required_must_be_in_force(asked, tmp_path, monkeypatch, switch, in_force, code) -> None:
    monkeypatch.setattr(confine, "confine", lambda *_arguments, **_more: in_force)
    monkeypatch.setenv("ONNXBUILD_CONFINE", switch)
    failure = Confinement(request(tmp_path)).failure
    assert (failure and failure.code) == code
    if failure is not None:
        assert failure.message == (
            "this system cannot confine somebody else's code, and `ONNXBUILD_CONFINE=require` is set"
        )
        hint = "Linux 5.13 and later can, unless a container forbids it: see `onnxbuild doctor`"
        assert failure.notes == (("hint", hint),)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def in_context(error: BaseException, context: BaseException) -> BaseException:
    error.__context__ = context
    return error


def circular() -> BaseException:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__context__, second.__context__ = second, first
    return first


REFUSED = PermissionError(errno.EACCES, "Permission denied", "/secret")
ELSEWHERE = "the network or another process"


@pytest.mark.parametrize(
    ("error", "reached"),
    [
        (REFUSED, "/secret"),
        (OSError(errno.EPERM, "Operation not permitted"), ELSEWHERE),
        (OSError(errno.EXDEV, "Invalid cross-device link", "/link"), "/link"),
        (OSError(errno.ENOENT, "No such file", "/gone"), None),
        (RuntimeError("libpython: [Errno 13] Permission denied: x"), ELSEWHERE),
        (caused(RuntimeError("could not load"), REFUSED), "/secret"),
        (in_context(RuntimeError("could not load"), REFUSED), "/secret"),
        (caused(ValueError("outer"), caused(RuntimeError("inner"), REFUSED)), "/secret"),
        (URLError(OSError(errno.EPERM, "Operation not permitted", "/secret")), "/secret"),
        (URLError("refused"), None),
        (circular(), None),
    ],
)  # fmt: skip
def test_a_refusal_is_explained_wherever_it_stands(asked, tmp_path: Path, error, reached) -> None:
    found = Confinement(request(tmp_path)).explain(error)
    if reached is None:
        assert found is None
    else:
        assert found == Failure(code="OBE73", message=f"confined code reached for {reached}", notes=(("hint", HINT),))


def test_without_confinement_a_refusal_is_that_of_the_system(asked, tmp_path: Path) -> None:
    assert Confinement(request(tmp_path, confined=False)).explain(REFUSED) is None
