"""What a worker leaves: links become copies or are refused, and nothing outside the outputs is moved or read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from toys import FUNCTIONS, Bench, InlineRunner, step

from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.store.content import Content
from onnxbuild.store.new_outputs import UnfitOutput, make_fit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "inputs" / "model").mkdir(parents=True)
    (tmp_path / "inputs" / "model" / "weights").write_text("weights")
    (tmp_path / "outputs" / "out").mkdir(parents=True)
    return tmp_path / "outputs" / "out"


def fit(out: Path) -> dict[str, str]:
    make_fit({"out": out}, out.parents[1] / "inputs")
    assert not [path for path in out.rglob("*") if path.is_symlink()]
    return {str(path.relative_to(out)): path.read_text() for path in sorted(out.rglob("*")) if path.is_file()}


def refusal(out: Path) -> UnfitOutput:
    with pytest.raises(UnfitOutput) as raised:
        make_fit({"out": out}, out.parents[1] / "inputs")
    return raised.value


def test_links_to_outputs_and_inputs_become_copies(out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "source" / "config.json"
    outside.parent.mkdir()
    outside.write_text("config")
    (tmp_path / "inputs" / "model" / "config.json").symlink_to(outside)  # as the engine links sources
    (out / "blobs").mkdir()
    (out / "blobs" / "1").write_text("one")
    (out / "snapshot").mkdir()
    (out / "snapshot" / "model").symlink_to("../blobs/1")  # as in a cache of the Hub
    (out / "again").symlink_to("snapshot/model")
    (out / "weights").symlink_to(tmp_path / "inputs" / "model" / "weights")
    (out / "config").symlink_to(tmp_path / "inputs" / "model" / "config.json")
    (out / "direct").symlink_to(outside)
    assert fit(out) == {
        "again": "one", "blobs/1": "one", "config": "config", "direct": "config", "snapshot/model": "one",
        "weights": "weights",
    }  # fmt: skip
    Content(tmp_path / "store").ingest(out)
    assert (outside.read_text(), (tmp_path / "inputs" / "model" / "weights").read_text()) == ("config", "weights")


@pytest.mark.parametrize(
    "target", ["../../secret", "../../folder", "../../inputs/model", "nothing", "self", "/dev/null", "../out", "."]
)
def test_any_other_link_is_refused(out: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis").write_text("precious")
    (out / "self").symlink_to(target)
    assert refusal(out).is_link
    assert (tmp_path / "folder" / "thesis").read_text() == "precious"


def test_a_folder_with_a_similar_name_is_not_inside(out: Path, tmp_path: Path) -> None:
    (tmp_path / "inputs-of-others").mkdir()
    (tmp_path / "inputs-of-others" / "x").write_text("x")
    (out / "x").symlink_to(tmp_path / "inputs-of-others" / "x")
    assert refusal(out).is_link


def test_an_output_that_is_a_link_is_refused(out: Path, tmp_path: Path) -> None:
    out.rmdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis").write_text("precious")
    out.symlink_to(tmp_path / "folder")
    assert refusal(out).is_link


def test_a_refused_link_leaves_the_other_links_alone(out: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (out / "a").symlink_to("b")
    (out / "b").write_text("b")
    (out / "c").symlink_to(tmp_path / "secret")
    assert "`c`" in str(refusal(out))
    assert (out / "a").is_symlink()


def test_a_fifo_and_names_that_cannot_be_stored_are_refused(out: Path) -> None:
    os.mkfifo(out / "fifo")
    assert str(refusal(out)) == "the worker left `fifo` in output `out`, which is not a regular file"
    (out / "fifo").unlink()
    (out / os.fsdecode(b"caf\xe9")).write_text("x")
    assert str(refusal(out)) == "the worker left `caf\\xe9` in output `out`: its name is not UTF-8"
    (out / os.fsdecode(b"caf\xe9")).unlink()
    deep = out.joinpath(*["d" * 200] * 5, "f" * 18)
    deep.parent.mkdir(parents=True)
    deep.touch()
    assert list(fit(out)) == [str(deep.relative_to(out))]  # 1,023 bytes
    deep.with_name("f" * 20).touch()
    assert "1025 bytes, more than 1024" in str(refusal(out))


def linking(target: Path):
    """A worker whose output is a file and a link."""

    def work(params, inputs, outputs, tell):
        (outputs["out"] / "text").write_text(params.text)
        (outputs["out"] / "link").symlink_to(target)
        return {}

    return InlineRunner({**FUNCTIONS, "cat": work})


def test_an_action_that_links_to_a_folder_outside_fails_and_the_folder_is_untouched(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "thesis").write_text("precious")
    outcome = Bench(tmp_path, linking(tmp_path / "folder")).outcomes(step("a", text="a"))["a"]
    assert (outcome.outcome, outcome.failure.code) == ("failed", "OBE76")
    assert (tmp_path / "folder" / "deep" / "thesis").read_text() == "precious"
    assert not list((tmp_path / "store" / "blobs").rglob("*"))


def test_an_action_that_links_to_its_source_stores_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "weights").write_text("weights")
    bench = Bench(tmp_path, linking(source / "weights"))
    files = FilesSource(str(source), ("weights",))
    assert bench(step("a", text="a", files=files)) == {"a": "built"}
    assert (source / "weights").read_text() == "weights"
    assert bench(step("a", text="a", files=files)) == {"a": "hit"}


def test_each_refusal_of_a_link_names_it_and_where_it_leads(out: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (out / "sub").mkdir()
    link = out / "sub" / "x"
    what = "the worker left `sub/x` in output `out`, a link"
    refusals = {
        "nothing": f"{what} that leads to nothing",
        str(tmp_path / "secret"): f"{what} to {tmp_path / 'secret'}, which is neither an output nor an input of it",
        str(out / "sub"): f"{what} to {out / 'sub'}, which is not a regular file",
        str(tmp_path / "inputs" / "model"): f"{what} to {tmp_path / 'inputs' / 'model'}, which is not a regular file",
        str(out): f"{what} to {out}, which is neither an output nor an input of it",
    }
    for target, message in refusals.items():
        link.symlink_to(target)
        refused = refusal(out)
        assert (str(refused), refused.is_link) == (message, True)
        link.unlink()


def test_an_output_that_was_replaced_is_named_and_a_file_is_no_link(out: Path, tmp_path: Path) -> None:
    out.rmdir()
    message = "the worker replaced the folder of output `out`"
    out.write_text("x")
    refused = refusal(out)
    assert (str(refused), refused.is_link) == (message, False)
    out.unlink()
    out.symlink_to(tmp_path)
    refused = refusal(out)
    assert (str(refused), refused.is_link) == (message, True)


def test_what_is_too_long_is_shown_by_its_beginning(out: Path) -> None:
    deep = out.joinpath(*["d" * 200] * 5, "f" * 20)
    deep.parent.mkdir(parents=True)
    deep.touch()
    refused = refusal(out)
    begin = ("d" * 200)[:80]
    message = f"the worker left a file in output `out` whose name has 1025 bytes, more than 1024: `{begin}…`"
    assert (str(refused), refused.is_link) == (message, False)
    os.mkfifo(out / "a")
    assert not refusal(out).is_link


def test_links_without_a_folder_of_inputs_lead_only_to_outputs(out: Path, tmp_path: Path) -> None:
    (out / "a").write_text("a")
    (out / "b").symlink_to("a")
    make_fit({"out": out}, tmp_path / "no inputs")
    assert (out / "b").read_text() == "a"
    assert not (out / "b").is_symlink()
    assert sorted(path.name for path in out.iterdir()) == ["a", "b"]
