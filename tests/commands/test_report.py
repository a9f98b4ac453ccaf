"""The command `report`: what it writes where, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from plugin.world import Ended, World

from onnxbuild.commands.reporting.report import write_plots
from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.report.page.canvas import drawing, new_figure
from onnxbuild.report.page.plots import Plot

STEPS = {"one": [{"text": "1"}], "two": [{"text": "22"}]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("report"))
    made.manifest(STEPS)
    assert made.run().code == 0
    return made


def bare(world: World, *arguments: str) -> Ended:
    """A command as it is written, without the manifest that others get first."""
    return world.run_arguments([sys.executable, "-m", "onnxbuild", *arguments, "--store", str(world.store)])


def reported(world: World, *arguments: str) -> Ended:
    return world.run(*arguments, verb="report")


def test_the_page_is_beside_the_outputs_and_is_replaced(world: World) -> None:
    page = world.root / "out" / "manifest-report.html"
    for _ in range(2):
        done = reported(world)
        assert (done.code, done.out, done.err) == (0, "", "wrote out/manifest-report.html\n")
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "m/one" in text
    assert "m/two" in text
    assert world.run().code == 0  # a run takes it for nothing of its own
    assert page.exists()


@pytest.mark.parametrize("name", ["r.html", "r.md", "r.json", "r.csv"])
def test_the_suffix_chooses_the_format_and_own_files_are_replaced(world: World, name: str) -> None:
    for _ in range(2):
        assert reported(world, "--output", name).code == 0
    beginnings = {"r.html": "<!doctype", "r.md": "<!-- a report", "r.json": '{\n  "onnxbuild"', "r.csv": "model,target"}
    assert (world.root / name).read_text().startswith(beginnings[name])


def test_the_formats_agree(world: World) -> None:
    whole = json.loads(reported(world, "--format", "json").out)
    names = [variant["row"]["name"] for variant in whole["variants"]]
    assert names == ["m/one", "m/two"]
    assert all(f"| {name} |" in reported(world, "--format", "markdown").out for name in names)


def test_a_selector_restricts_it(world: World) -> None:
    whole = json.loads(reported(world, "m/two", "--format", "json").out)
    assert [variant["row"]["name"] for variant in whole["variants"]] == ["m/two"]


def test_a_file_of_somebody_else_is_kept(world: World) -> None:
    (world.root / "notes.html").write_text('<!doctype html>\n<html lang="en">\n<head>\n<title>Notes</title>')
    done = reported(world, "--output", "notes.html")
    assert done.code == 2
    assert "OB016 `notes.html` cannot be written: it exists, and onnxbuild has not written it" in done.err
    assert "Notes" in (world.root / "notes.html").read_text()


def test_plots_are_written_to_a_new_folder_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "plots"
    plots = [Plot("size-m", "sizes", "", _figure())]
    for _ in range(2):
        write_plots(plots, str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["size-m.png", "size-m.svg"]
    (folder / "size-m.png").write_bytes(b"\x89PNG\r\n\x1a\nsomebody's picture")
    with pytest.raises(DiagnosticError, match="it exists, and onnxbuild has not written it"):
        write_plots(plots, str(folder))


def _figure() -> Figure:
    with drawing():
        figure = new_figure(3, 2)
        figure.add_subplot().barh([0], [1])
        return figure


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "csv", "--output", "r.html"], "`--format csv` contradicts `--output r.html`, which is html"),
        (["--output", "r.pdf"], "`r.pdf` has none of the suffixes .html, .htm, .md, .json, .csv"),
        (["--format", "json", "--open"], "`--open` shows the page: it needs `--format html`"),
        (["--format", "yaml"], "argument --format: invalid choice: 'yaml'"),
        (["--compare", "a", "b", "--output", "r.html"], "`r.html` has none of the suffixes .txt, .md, .json"),
        (
            ["--compare", "a", "b", "--output", "r.md", "--format", "json"],
            "`--format json` contradicts `--output r.md`",
        ),
        (["--plots", ""], "argument --plots: expected a path, found nothing"),
    ],
)
def test_options_that_contradict_each_other(world: World, arguments: list[str], message: str) -> None:
    done = reported(world, *arguments)
    assert done.code == 2
    assert message in done.err


def test_without_matplotlib_the_page_is_refused_and_the_rest_works(world: World) -> None:
    hidden = "import sys; sys.modules['matplotlib'] = None; from onnxbuild.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", hidden, "report", "manifest.yaml"]
    done = subprocess.run(command, cwd=world.root, env=world.environment, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "OB092 the page of a report needs `matplotlib`" in done.stderr
    assert "hint: `pip install 'onnxbuild[report]'`" in done.stderr
    other = [*command, "--format", "markdown"]
    done = subprocess.run(other, cwd=world.root, env=world.environment, text=True, capture_output=True, check=False)
    assert (done.returncode, "| m/one |" in done.stdout) == (0, True)


def test_settings_of_matplotlib_in_a_checkout_have_no_effect(world: World) -> None:
    assert reported(world, "--output", "before.html").code == 0
    (world.root / "matplotlibrc").write_text("text.usetex: True\nfont.size: 31\nsavefig.facecolor: red\n")
    assert reported(world, "--output", "after.html").code == 0
    assert Path(world.root, "before.html").read_text() == Path(world.root, "after.html").read_text()
    (world.root / "matplotlibrc").unlink()


def test_a_manifest_that_was_never_run_is_a_page_that_says_so(tmp_path: Path) -> None:
    never = World(tmp_path)
    never.manifest(STEPS)
    done = reported(never, "--format", "markdown")
    assert (done.code, "Nothing has been run yet." in done.out) == (0, True)


# -- two builds -------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.manifest(STEPS)
    assert made.run().code == 0
    return made


def test_two_builds_are_named_as_report_folder_manifest_or_revision(fresh: World) -> None:
    assert reported(fresh, "--output", "base.json").code == 0
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "base.json"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *arguments], cwd=fresh.root, check=True)
    for name in ("base.json", "out", "out/m/one", "manifest.yaml", "HEAD:base.json", "HEAD:./base.json"):
        done = bare(fresh, "report", "--compare", name, "manifest.yaml")
        assert (done.code, done.err) == (0, ""), name
    whole = json.loads(bare(fresh, "report", "--compare", "out/m/one", "out", "--format", "json").out)
    assert (whole["gone"], whole["new"]) == ([], ["m/two"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.json", "`nothing.json` does not exist"),
        ("HEAD:nothing.json", "`HEAD:nothing.json` does not exist"),
        ("--upload-pack=x:y", "expected 2 arguments"),
        ("notes.txt", "`notes.txt` is neither a report in JSON nor an `onnxbuild.json`"),
        ("empty", "the folder `empty` has no `onnxbuild.json`"),
    ],
)
def test_what_is_no_build_is_refused(fresh: World, name: str, message: str) -> None:
    (fresh.root / "notes.txt").write_text('{"onnxbuild": 1}')
    (fresh.root / "empty").mkdir()
    done = bare(fresh, "report", "--compare", name, "manifest.yaml")
    assert done.code == 2
    assert message in done.err


def test_git_runs_nothing_that_a_checkout_names(fresh: World) -> None:
    subprocess.run(["git", "init", "-q"], cwd=fresh.root, check=True)
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external"):
        subprocess.run(["git", "config", key, "touch owned; false"], cwd=fresh.root, check=True)
    bare(fresh, "report", "--compare", "HEAD:base.json", "manifest.yaml")
    assert not (fresh.root / "owned").exists()


def test_a_run_against_an_earlier_build_fails_where_a_bound_is_broken(fresh: World) -> None:
    assert reported(fresh, "--output", "base.json").code == 0
    base = json.loads((fresh.root / "base.json").read_text())
    for variant in base["variants"]:
        variant["row"]["size_bytes"] = 100
    now = json.loads(json.dumps(base))
    for variant in now["variants"]:
        variant["row"]["size_bytes"] = 106
    (fresh.root / "base.json").write_text(json.dumps(base))
    (fresh.root / "now.json").write_text(json.dumps(now))
    manifest = fresh.root / "manifest.yaml"
    written = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(written | {"regressions": {"size": "+5%"}}))
    done = bare(fresh, "report", "manifest.yaml", "--compare", "base.json", "now.json")
    assert (done.code, "2 regressions: m/one size beyond +5%" in done.out) == (1, True)
    # The toy steps have no size, and what was measured before and is not any more shows nothing.
    done = fresh.run("--against", "base.json")
    assert (done.code, "2 regressions: m/one size beyond +5%" in done.out) == (1, True), done
    manifest.write_text(json.dumps(written | {"regressions": {"speedup": "-5%"}}))
    assert fresh.run("--against", "base.json").code == 0
    events = fresh.run("--against", "base.json", "--json")
    assert json.loads(events.out.splitlines()[-1])["event"] == "summary"
    assert "against base.json:" in events.err


def test_a_baseline_of_other_variants_judges_no_bound(fresh: World) -> None:
    """An exit code of 0 would say that nothing became worse."""
    assert reported(fresh, "--output", "base.json").code == 0
    base = json.loads((fresh.root / "base.json").read_text())
    (fresh.root / "other.json").write_text(json.dumps(base | {"variants": []}))
    manifest = fresh.root / "manifest.yaml"
    assert fresh.run("--against", "other.json").code == 0
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"regressions": {"size": "+5%"}}))
    done = fresh.run("--against", "other.json")
    assert done.code != 0
    assert "OB695 `other.json` has no variant of this run, so no bound of `regressions` was judged" in done.err


def test_a_missing_baseline_costs_no_build(fresh: World) -> None:
    fresh.manifest({"one": [{"text": "other"}]})
    done = fresh.run("--against", "missing.json")
    assert (done.code, done.out) == (2, "")
    assert "OB093" in done.err
    assert "one" not in done.err


def test_without_a_display_no_browser_is_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would start one for terminals, which waits for keys."""
    started = world.root / "started"
    browser = world.root / "bin" / "www-browser"
    browser.parent.mkdir(exist_ok=True)
    browser.write_text(f"#!/bin/sh\necho \"$1\" > '{started}'\n")
    browser.chmod(0o755)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        world.environment.pop(name, None)
    monkeypatch.setitem(world.environment, "PATH", str(browser.parent))
    done = reported(world, "--open")
    assert (done.code, started.exists()) == (0, False)
    assert done.err.endswith("no browser could be started: open the file yourself\n")
    monkeypatch.setitem(world.environment, "BROWSER", str(browser))
    assert reported(world, "--open").code == 0
    assert started.read_text().endswith("/out/manifest-report.html\n")


GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")


def committed(world: World, *tags: str) -> None:
    """The manifest as a commit; git ignores the model."""
    (world.root / ".gitignore").write_text("/model/\n/out/\n/.onnxbuild/\n")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "more"], *(["tag", tag] for tag in tags)):
        subprocess.run([*GIT, *arguments], cwd=world.root, check=True)


SIZED = {"one": [{"text": "1", "number": 100}], "two": [{"text": "22", "number": 200}]}


def changed_figures(done: Ended) -> set[tuple[str, str, str]]:
    found = json.loads(done.out)["changes"]
    return {(one["variant"], one["figure"], one["verdict"]) for one in found}


def test_a_revision_is_what_its_manifest_describes_and_the_store_has(fresh: World) -> None:
    fresh.manifest(SIZED)
    assert fresh.run().code == 0
    committed(fresh, "v1")
    fresh.manifest(SIZED | {"one": [{"text": "1", "number": 120}]})
    assert fresh.run().code == 0
    committed(fresh)
    expected = {("m/one", "size", "worse"), ("m/two", "size", "equal")}
    before = sorted(path.relative_to(fresh.root) for path in fresh.root.rglob("*") if ".git/" not in str(path))
    for names in (("v1", "HEAD"), ("v1", "main"), ("v1", "."), ("v1", "manifest.yaml"), ("HEAD~1", "out")):
        done = reported(fresh, "--compare", *names, "--format", "json")
        assert (done.code, done.err) == (0, ""), names
        assert changed_figures(done) == expected, names
    assert changed_figures(reported(fresh, "--compare", "HEAD", "v1", "--format", "json")) == {
        ("m/one", "size", "better"), ("m/two", "size", "equal"),
    }  # fmt: skip
    after = sorted(path.relative_to(fresh.root) for path in fresh.root.rglob("*") if ".git/" not in str(path))
    assert after == before


def test_what_the_store_lacks_of_a_revision_is_named_and_nothing_is_built(fresh: World) -> None:
    committed(fresh, "v1")
    fresh.manifest(STEPS | {"two": [{"text": "never built"}]})
    committed(fresh, "v2")
    done = reported(fresh, "--compare", "v1", "v2")
    assert done.code == 0
    assert "not in the store, of manifest.yaml at v2: m/two:toy" in done.out
    fresh.manifest({"one": [{"text": "never"}], "two": [{"text": "built"}]}, source="onnx:other")
    (fresh.root / "other").mkdir()
    (fresh.root / "other" / "model.onnx").write_bytes(b"other")
    committed(fresh, "v3")
    done = reported(fresh, "--compare", "v1", "v3")
    assert done.code == 2
    assert done.err.startswith("OB700 the store has no result of `manifest.yaml` at `v3`\n")


def test_a_run_is_judged_against_a_revision(fresh: World) -> None:
    fresh.manifest(SIZED)
    assert fresh.run().code == 0
    committed(fresh, "v1")
    manifest = fresh.manifest(SIZED | {"one": [{"text": "1", "number": 120}]})
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"regressions": {"size": "+1%"}}))
    done = fresh.run("--against", "v1")
    assert done.code == 1
    assert "1 regression: m/one size beyond +1%" in done.out


def test_a_revision_needs_a_manifest_that_it_has_and_that_can_be_planned(fresh: World) -> None:
    committed(fresh, "v1")
    done = bare(fresh, "report", "--compare", "v1", "HEAD")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "OB093 `v1` is a revision of git, which is no build by itself",
    )
    (fresh.root / "new.yaml").write_text((fresh.root / "manifest.yaml").read_text())
    done = bare(fresh, "report", "new.yaml", "--compare", "v1", ".")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "OB701 `new.yaml` cannot be planned as `v1` has it: the revision has no such file",
    )
    (fresh.root / "new.yaml").unlink()
    fresh.manifest(STEPS, source="onnx:gone")
    committed(fresh, "v2")
    fresh.manifest(STEPS)
    done = reported(fresh, "--compare", "v2", ".")
    assert done.code == 2
    assert done.err.startswith("OB701 `manifest.yaml` cannot be planned as `v2` has it: ")
    assert str(fresh.root) not in done.err
    assert "/tmp/onnxbuild-revision" not in done.err


def test_a_comparison_obeys_selectors(fresh: World) -> None:
    assert reported(fresh, "--output", "base.json").code == 0
    fresh.manifest(SIZED)
    assert fresh.run().code == 0
    done = reported(fresh, "m/one", "--compare", "base.json", "manifest.yaml", "--format", "json")
    assert {variant for variant, _, _ in changed_figures(done)} == {"m/one"}
    done = reported(fresh, "m/three", "--compare", "base.json", "manifest.yaml")
    assert (done.code, done.err.splitlines()[:2]) == (
        2,
        ["OB018 the selector `m/three` matches nothing", "  = hint: the builds have m/one, m/two"],
    )


def test_the_suffix_chooses_the_format_of_a_comparison(fresh: World) -> None:
    assert reported(fresh, "--compare", ".", "out", "--output", "c.md").code == 0
    assert (fresh.root / "c.md").read_text().startswith("<!-- a report of onnxbuild -->")
    assert reported(fresh, "--compare", ".", "out", "--output", "c.json").code == 0
    assert json.loads((fresh.root / "c.json").read_text())["in_common"] == 2
