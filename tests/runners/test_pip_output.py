"""What pip prints: the progress and the reason that a person sees."""

from __future__ import annotations

import pytest

from onnxbuild.runners.pip_output import Counter, code_and_hint, reason

AGAIN = "`onnxbuild lock --upgrade` resolves the toolchain again"
OTHER_FILES = "the index of this machine has other files for these versions: `onnxbuild lock --upgrade`"
CONFLICT = "use a separate toolchain for each exporter; `onnxbuild lock --upgrade` finds versions that fit"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Collecting torch==2.13.0 (line 1)", "fetching torch (1 of 7)"),
        ("Collecting ruamel.yaml-clib_x==1 (line 1)", "fetching ruamel.yaml-clib_x (1 of 7)"),
        ("Processing /a-1/onnx_ir-0.1.9-py3-none-any.whl (from x)", "fetching onnx_ir (1 of 7)"),
        ("Processing c:\\a-1\\onnx_ir-0.1.9-py3-none-any.whl", "fetching onnx_ir (1 of 7)"),
        ("Processing ./onnx-1.0.tar.gz", "fetching onnx (1 of 7)"),
        ("Installing collected packages: torch, onnx", "installing 7 packages"),
        ("  Downloading torch-2.13.0.whl (899.7 MB)", None),
        ("Looking in indexes: x", None),
        ("", None),
    ],
)
def test_a_line_of_pip_is_progress_or_nothing(line: str, said: str | None) -> None:
    heard: list[str] = []
    Counter(7, heard.append)(line)
    assert heard == ([] if said is None else [said])


def test_packages_are_counted() -> None:
    heard: list[str] = []
    counter = Counter(2, heard.append)
    for line in ("Collecting a==1", "  Using cached a", "Collecting b==1"):
        counter(line)
    assert heard == ["fetching a (1 of 2)", "fetching b (2 of 2)"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", ("OBE66", OTHER_FILES)),
        ("    Expected sha256 0000\n", ("OBE66", OTHER_FILES)),
        ("ERROR: ResolutionImpossible: for help visit", ("OBE12", CONFLICT)),
        ("these package versions have conflicting dependencies.", ("OBE12", CONFLICT)),
        ("ERROR: No matching distribution found", ("OBE66", AGAIN)),
        ("", ("OBE66", AGAIN)),
    ],
)
def test_the_code_and_the_advice(output: str, expected: tuple[str, str]) -> None:
    assert code_and_hint(output) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Collecting a\nERROR: the first\nERROR: the second\nlast\n", "the first"),
        ("an ERROR: inside\nlast words\n\n  \nInstalling collected packages: a\n", "last words"),
        ("Collecting a\n  Downloading a\n  Using cached a\nProcessing a\nInstalling collected packages\n",
         "no reason given"),
        ("", "no reason given"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure(output: str, expected: str) -> None:
    assert reason(output) == expected
