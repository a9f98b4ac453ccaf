"""The output of the commands, in runs of toy steps: failures, selections, status, logs, explanations."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plugin.world import Ended, World

from onnxbuild.commands.parsing.arguments import COMMANDS
from onnxbuild.commands.parsing.parsers import parse, parser, subcommand

GOOD_AND_BAD = {"one": [{"text": "1"}], "two": [{"text": "2"}, {"do": "exit", "number": 3}]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.environment |= {"NO_COLOR": "1", "COLUMNS": "100"}
    return made


def command(world: World, *arguments: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments], cwd=world.root, env=world.environment, text=True,
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_failure_shows_its_line_and_repeats_the_whole_command(world: World) -> None:
    path = world.manifest(GOOD_AND_BAD)
    path.write_text(json.dumps({**json.loads(path.read_text()), "vars": {"a": "x"}}))
    done = world.run("--out", "my out", "-j", "2", "-D", "a=b c", "--timeout", "77.5", "m/two")
    assert done.code == 1
    lines = done.out.splitlines()
    at = lines.index("OBE61 m/two:toy-2 failed: the worker ended by itself with exit status 3")
    assert lines[at + 1].startswith(" --> manifest.yaml:1:")
    assert lines[at + 4].strip(" |") == "^^^^^"
    (again,) = (line for line in lines if line.startswith("  = again: "))
    assert shlex.split(again.removeprefix("  = again: ")) == [
        "onnxbuild", "run", "manifest.yaml", "m/two:toy-2", "-D", "a=b c", "--store", str(world.store), "--out",
        "my out", "--jobs", "2", "--timeout", "77.5",
    ]  # fmt: skip


def test_a_failure_shows_its_line_although_the_plan_was_remembered(world: World) -> None:
    world.manifest({"two": [{"text": "2"}]})
    assert world.run().code == 0
    (world.root / "model" / "model.onnx").write_bytes(b"second " * 900)
    done = world.run("--timeout", "0.001")
    assert done.code == 1, done
    assert " --> manifest.yaml:1:" in done.out


@pytest.mark.parametrize("words", [("plan", "m.yaml", "--forse"), ("--forse", "plan", "m.yaml")])
def test_an_unknown_option_points_to_the_help_of_its_command(world: World, words: tuple[str, ...]) -> None:
    done = command(world, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "onnxbuild plan: unrecognized arguments: --forse\n  = hint: `--force` is an option of `onnxbuild run`\n"
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "m.yaml", "--forc"], "did you mean `--force`?"),
        (["run", "m.yaml", "--dryrun"], "did you mean `--dry-run`?"),
        (["gc", "m.yaml", "--dry-rum"], "did you mean `--dry-run`?"),
        (["run", "m.yaml", "--remote-read-only"], "did you mean `--remote-readonly`?"),
        (["run", "m.yaml", "--remote-read-only=x"], "did you mean `--remote-readonly`?"),
        (["plan", "m.yaml", "--revalidate"], "`--revalidate` is an option of `onnxbuild run`, `onnxbuild verify`"),
        (["plan", "m.yaml", "--qqqqqq"], "onnxbuild plan --help"),
        (["plan", "m.yaml", "-x"], "onnxbuild plan --help"),
        (["cache", "stat", "m.yaml"], "did you mean `stats`?"),
        (["graph", "m.yaml", "--format", "mermade"], "did you mean `mermaid`?"),
        (["help", "rum"], "did you mean `run`?"),
        (["rum", "m.yaml"], "did you mean `run`?"),
    ],
)
def test_a_misspelt_word_is_not_guessed_and_gets_a_hint(capsys, words: list[str], hint: str) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"  = hint: {hint}"


def test_no_parser_guesses_what_an_abbreviation_means() -> None:
    top = parser()
    assert [one.allow_abbrev for one in (top, *(subcommand(top, name) for name in COMMANDS))] == [False] * (
        len(COMMANDS) + 1
    )


def test_a_selection_shows_the_selected_rows_only(world: World) -> None:
    world.manifest({"one": [{"text": "1"}], "two": [{"text": "1"}, {"text": "2"}]})
    assert "m/one" in world.run().out
    for selector in ("m/two", ":toy-2"):
        selected = command(world, "status", "manifest.yaml", selector, "--format", "markdown")
        assert "| m/two |" in selected.out
        assert "m/one" not in selected.out


def test_a_run_names_the_folders_that_it_wrote(world: World) -> None:
    world.manifest({"one": [{"text": "1"}], "two": [{"text": "2"}]})
    assert "wrote out/m/one/, out/m/two/" in world.run().out.splitlines()
    assert "wrote" not in world.run().out
    world.manifest({f"t{number}": [{"text": str(number)}] for number in range(7)})
    assert "wrote 7 folders below out/m/" in world.run().out.splitlines()


def test_a_quiet_run_prints_failures_and_the_closing_line(world: World) -> None:
    world.manifest(GOOD_AND_BAD)
    done = world.run("-q")
    assert done.err == ""
    assert done.out.splitlines()[0] == "OBE61 m/two:toy-2 failed: the worker ended by itself with exit status 3"
    assert done.out.splitlines()[-1].startswith("built 3, unchanged 0, hit 0, failed 1 in ")
    world.manifest({"one": [{"text": "1"}]})
    closing = "up to date: 2 actions, nothing to do\n"
    assert (world.run("-q").out, world.run("-q").out) == (closing, closing)  # by the engine, then by the receipt


def test_a_verbose_run_prints_every_action_with_its_log(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    done = world.run("-v")
    assert "          log: .onnxbuild/logs/m+one+toy.txt" in done.err.splitlines()
    again = world.run("--verbose")
    assert again.err.splitlines() == ["hit       m:fetch", "hit       m/one:toy"]


def test_a_plan_says_what_failed_the_last_time(world: World) -> None:
    world.manifest(GOOD_AND_BAD)
    assert world.run(verb="plan").out.splitlines()[0] == "nothing has been built yet"
    world.run()
    assert world.run(verb="plan").out == (
        "hit       m:fetch\n"
        "hit       m/one:toy\n"
        "hit       m/two:toy\n"
        "run       m/two:toy-2\n"
        "          failed last time (OBE61)\n"
        "1 of 4 actions would run\n"
    )
    world.manifest({**GOOD_AND_BAD, "three": [{"text": "3"}]})
    assert "run       m/three:toy  (never built)" in world.run(verb="plan").out.splitlines()


def test_the_status_is_the_last_table_without_a_run(world: World) -> None:
    world.manifest(GOOD_AND_BAD)
    assert command(world, "status", "manifest.yaml").out == ("0 of 4 actions have a result: nothing has been run yet\n")
    world.run()
    status = command(world, "status", "manifest.yaml")
    assert status.code == 0
    lines = status.out.splitlines()
    assert "failed last time: m/two:toy-2: OBE61 the worker ended by itself with exit status 3" in lines
    assert lines[-1].startswith("3 of 4 actions have a result, 1 failed; the last changed at 20")


def test_the_status_as_markdown_and_json(world: World) -> None:
    world.manifest(GOOD_AND_BAD)
    world.run()
    markdown = command(world, "status", "manifest.yaml", "m/two", "--format", "markdown").out.splitlines()
    assert markdown[:3] == ["| variant |", "| --- |", "| m/two |"]
    assert "- failed last time: m/two:toy-2: OBE61 the worker ended by itself with exit status 3" in markdown
    found = json.loads(command(world, "status", "manifest.yaml", "--format", "json").out)
    assert [row["name"] for row in found["variants"]] == ["m/one", "m/two"]
    assert found["actions"] == {"m:fetch": "hit", "m/one:toy": "hit", "m/two:toy": "hit", "m/two:toy-2": "failed"}
    assert found["failures"]["m/two:toy-2"]["code"] == "OBE61"


def test_logs_prints_the_log_of_the_last_run_and_when_that_was(world: World) -> None:
    world.manifest({"one": [{"do": "shout", "text": "hello", "number": 3}]})
    world.run()
    log = world.root / ".onnxbuild" / "logs" / "m+one+toy.txt"
    done = command(world, "logs", "m/one:toy")
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(log.stat().st_mtime))
    assert (done.code, done.out, done.err) == (0, log.read_text(), f"log of {at}, when it succeeded\n")
    log.unlink()
    missing = command(world, "logs", "m/one:toy").err
    assert missing.startswith("OB018 m/one:toy has no log in .onnxbuild/logs\n")


def test_an_empty_log_names_the_command_that_shows_more(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    world.run()
    silent = command(world, "logs", "m/one:toy", "-m", "manifest.yaml")
    assert (silent.code, silent.out) == (0, "")
    origin, empty = silent.err.splitlines()
    assert origin.endswith(", when it succeeded")
    assert re.fullmatch(
        r"the log is empty: the action printed nothing and succeeded in \d+\.\d s; "
        r"`onnxbuild explain m/one:toy` shows its facts",
        empty,
    )


def test_the_log_of_a_failure_that_was_reverted_says_so(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    world.run()
    world.manifest({"one": [{"do": "exit", "number": 3}]})
    world.run()
    assert command(world, "logs", "m/one:toy").err.splitlines()[0].endswith(", when it failed (OBE61)")
    world.manifest({"one": [{"text": "1"}]})
    assert world.run("--json").outcomes()["m/one:toy"] == "hit"
    origin = command(world, "logs", "m/one:toy").err.splitlines()[0]
    assert origin.endswith(", when it failed (OBE61); the current result is another one (a hit)")


def test_a_log_that_no_recorded_run_wrote_has_no_outcome(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    world.run()
    log = world.root / ".onnxbuild" / "logs" / "m+one+toy.txt"
    os.utime(log, (1_700_000_000, 1_700_000_000))
    assert command(world, "logs", "m/one:toy").err.splitlines()[0].endswith("how that run ended is not recorded")


def test_explain_looks_at_the_store_of_the_last_run(world: World) -> None:
    path = world.manifest({"one": [{"text": "${vars.word}"}]})
    path.write_text(json.dumps({**json.loads(path.read_text()), "vars": {"word": "x"}}))
    store = world.root.parent / "my store"
    world.store = store
    assert world.run("-D", "word=se cret").code == 0
    note = world.root / ".onnxbuild" / "last"
    assert note.read_text() == f"manifest.yaml\nstore: {store}\ndefined: word\n"
    assumed = f"looking at the store of the last run: {store}"
    other = "the last run had `-D word=…`; without it, this describes the manifest's own values"
    done = command(world, "explain", "m/one:toy")
    assert done.err.splitlines() == [assumed, other]
    assert done.out.splitlines()[0] == "m/one:toy: built in its last run"
    defined = command(world, "explain", "m/one:toy", "-D", "word=se cret", "-m", "manifest.yaml")
    assert defined.err.splitlines() == [assumed]
    assert "now: up to date" in defined.out.splitlines()
    status = command(world, "status", "manifest.yaml", "--store", str(store), "-D", "word=y")
    assert status.err.startswith("OB710 warning: the results of `m/one` are of an earlier manifest or source")
    assert "nothing has been run" not in status.out
    note.write_text("manifest.yaml\n")  # as earlier versions wrote it
    assert command(world, "explain", "m/one:toy").out.startswith("m/one:toy has never been run\n")


def test_every_command_that_reads_results_finds_those_of_the_last_run(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    world.store = world.root.parent / "elsewhere"
    assert world.run().code == 0
    for words in (
        ["report", "manifest.yaml", "--format", "markdown"],
        ["report", "manifest.yaml", "--compare", ".", "manifest.yaml"],
        ["report", "--compare", "manifest.yaml", "out"],
        ["graph", "manifest.yaml"],
        ["card", "manifest.yaml", "--no-plots"],
        ["status", "manifest.yaml"],
    ):
        done = command(world, *words)
        assert f"looking at the store of the last run: {world.store}" in done.err.splitlines(), words
        assert (done.code, "has been run yet" in done.out) == (0, False), (words, done)
    assert (world.root / "out" / "m" / "README.md").is_file()
    assert (
        "of the last run" not in command(world, "report", "manifest.yaml", "--format", "markdown", "--store", "s").err
    )


def test_explain_shows_params_with_their_origin_the_log_the_output_and_the_key(world: World) -> None:
    world.manifest(GOOD_AND_BAD)
    world.run()
    lines = command(world, "explain", "m/one:toy").out.splitlines()
    assert "  text     1       manifest.yaml:1" in lines
    assert "  do       append  default" in lines
    assert "log: .onnxbuild/logs/m+one+toy.txt" in lines
    assert "output: out/m/one" in lines
    assert "key parts:" in lines
    failed = command(world, "explain", "m/two:toy-2").out.splitlines()
    assert failed[:3] == ["m/two:toy-2: failed in its last run", "  because never built",
                          "  OBE61 the worker ended by itself with exit status 3"]  # fmt: skip
    assert "output: out/m/two (not written yet)" in failed


def test_explain_shows_a_variant(world: World) -> None:
    world.manifest(GOOD_AND_BAD)
    world.run()
    lines = command(world, "explain", "m/two").out.splitlines()
    assert lines[:2] == ["m/two: fp32", "output: out/m/two (not written yet)"]
    headings = [line for line in lines if line.startswith(("m:", "m/two:toy"))]
    assert headings == ["m:fetch: up to date", "m/two:toy: up to date", "m/two:toy-2: failed last time (OBE61)"]
    assert "  number  3     manifest.yaml:1" in lines


def test_a_drawing_in_a_folder_that_does_not_exist(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    failed = command(world, "graph", "manifest.yaml", "--output", "nodir/g.svg")
    assert (failed.code, failed.err.splitlines()[1]) == (2, "  = hint: create the folder `nodir` first")
    folder = command(world, "graph", "manifest.yaml", "--output", "model", "--format", "svg")
    assert folder.err == "OB016 `model` cannot be written: Is a directory\n"


def test_explain_lists_the_variants_of_a_model(world: World) -> None:
    world.manifest(GOOD_AND_BAD)
    world.run()
    assert command(world, "explain", "m").out.splitlines() == [
        "m: a model with 2 variants",
        "  m/one: fp32, output: out/m/one",
        "  m/two: fp32, output: out/m/two (not written yet)",
        "    m/two:toy-2: failed last time (OBE61)",
        "more: `onnxbuild explain m/one` shows the actions of a variant",
    ]


@pytest.mark.parametrize("subject", ["m", "m/two"])
def test_logs_of_a_model_or_a_variant_is_that_of_the_action_that_failed(world: World, subject: str) -> None:
    world.manifest(GOOD_AND_BAD)
    world.run()
    assert command(world, "logs", subject).err.splitlines()[0] == "m/two:toy-2 failed in its last run"
    several = command(world, "logs", "m/one")
    assert (several.code, several.out) == (2, "")
    assert several.err == (
        "OB018 `m/one` has more than one log\n  = hint: name one of its actions: `m:fetch`, `m/one:toy`\n"
    )


def test_an_interrupt_counts_what_is_kept(world: World) -> None:
    world.manifest({f"s{number}": [{"text": str(number), "seconds": 1.0}] for number in range(4)})
    process = world.start("-j", "1")
    assert process.stderr is not None
    lines = []
    while not any("m/s0:toy" in line for line in lines):
        lines.append(process.stderr.readline())
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    finished = [line for line in [*lines, *rest.splitlines()] if line.startswith(("built", "hit"))]
    assert 2 <= len(finished) < 5
    assert out.splitlines()[0] == f"interrupted: {len(finished)} of 5 finished and kept; run again to continue"
    assert "s3" not in out
    assert "skipped" not in rest
    status = command(world, "status", "manifest.yaml").out.splitlines()
    assert status[-1].endswith("; the last run was interrupted")
    world.run()
    assert not command(world, "status", "manifest.yaml").out.splitlines()[-1].endswith("interrupted")


def test_an_interrupt_of_the_first_action_is_remembered(world: World) -> None:
    world.manifest({"slow": [{"do": "hang", "seconds": 30.0}]})
    process = world.start("-v")
    log = world.root / ".onnxbuild" / "logs" / "m+slow+toy.txt"
    while not log.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    shown = command(world, "logs", "m/slow:toy").err.splitlines()[0]
    assert shown.endswith(", when the run was interrupted")
    lines = command(world, "explain", "m/slow:toy").out.splitlines()
    assert lines[0] == "m/slow:toy: not finished, because the run was interrupted or ended early, in its last run"


def test_the_schema_is_written_to_a_file(world: World) -> None:
    assert command(world, "schema", "--output", "schema.json").out == ""
    assert (world.root / "schema.json").read_text() == command(world, "schema").out
    failed = command(world, "schema", "--output", "no/such/folder/schema.json")
    assert (failed.code, failed.err.splitlines()) == (
        2,
        ["OB016 `no/such/folder/schema.json` cannot be written: No such file or directory",
         "  = hint: create the folder `no/such/folder` first"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "start"),
    [("g.svg", "<svg "), ("g.dot", "digraph "), ("g.mmd", "flowchart LR\n"), ("g.md", "```mermaid\nflowchart LR\n"),
     ("g.JSON", '{\n  "actions"')],
)  # fmt: skip
def test_the_suffix_chooses_the_format_of_a_drawing(world: World, name: str, start: str) -> None:
    world.manifest({"one": [{"text": "1"}]})
    assert command(world, "graph", "manifest.yaml", "--output", name).code == 0
    assert (world.root / name).read_text().startswith(start)


@pytest.mark.parametrize("words", [("m/one:toy", "-m", "manifest.yaml"), ("manifest.yaml", "m/one:toy"),
                                   ("m/one:toy", "manifest.yaml")])  # fmt: skip
def test_explain_and_logs_take_the_manifest_in_any_place(world: World, words: tuple[str, ...]) -> None:
    world.manifest({"one": [{"do": "shout", "text": "hello"}]})
    world.run()
    explained = command(world, "explain", *words)
    assert (explained.code, explained.out.splitlines()[0]) == (0, "m/one:toy: built in its last run")
    assert command(world, "logs", *words).out == "straight to the descriptor\n"


def test_two_names_without_a_manifest_are_one_too_many(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    world.run()
    done = command(world, "explain", "m/one", "m/two")
    assert (done.code, done.err.splitlines()[0]) == (2, "onnxbuild explain: unrecognized arguments: m/two")


def test_a_log_is_shown_without_what_commands_a_terminal(world: World) -> None:
    world.manifest({"one": [{"text": "1"}]})
    world.run()
    log = world.root / ".onnxbuild" / "logs" / "m+one+toy.txt"
    log.write_bytes(b"\x1b[31mred\x1b[0m\r\n 10%\r 20%\x1b[2J\x07\xff\n")
    assert command(world, "logs", "m/one:toy").out == "red\n 10%\n 20%\\x1b[2J\\x07\ufffd\n"


def test_a_folder_that_cannot_be_written_is_in_the_summary(world: World) -> None:
    world.manifest({"one": [{"text": "1", "seconds": 1.5}], "two": [{"text": "2"}]})
    process = world.start("--json", "-j", "1")
    while not (world.root / ".onnxbuild" / "logs").exists():  # it has looked at the output folder, and builds
        time.sleep(0.01)
    (world.root / "out").mkdir()
    (world.root / "out" / "m").write_text("in the way")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    summary = json.loads(out.splitlines()[-1])
    assert summary["failed"] == []
    assert sorted(summary["undelivered"]) == [str(world.root / "out/m/one"), str(world.root / "out/m/two")]
    assert all("out/m" in reason for reason in summary["undelivered"].values())


@pytest.mark.parametrize("place", ["missing/profile.json", "/dev/full"])
def test_a_profile_that_cannot_be_written_fails_a_run_that_is_reported(world: World, place: str) -> None:
    world.manifest({"one": [{"text": "1"}]})
    done = world.run("--profile", place)
    assert done.code == 1, done
    assert "built 2, unchanged 0, hit 0, failed 0 in" in done.out
    assert f"the profile `{place}` could not be written: " in done.err
    assert set(world.delivered()) == {"one"}


def test_a_name_in_a_message_adds_no_line(tmp_path: Path) -> None:
    world = World(tmp_path / "world\nhit       forged")
    world.manifest({"one": [{"text": "1"}]})
    world.run()
    (world.root / "out/m/one" / "config.json").write_text("edited")
    done = world.run()
    assert done.code == 0, done
    assert "had been edited" in done.err
    assert not [line for line in done.err.splitlines() if line.startswith("hit       forged")]


@pytest.mark.parametrize(
    ("line", "manifests", "selectors"),
    [
        ("cache push --remote s3://b/p m.yaml", "m.yaml", []),
        ("cache push m.yaml --remote s3://b/p m/int8", "m.yaml", ["m/int8"]),
        ("cache stats --json m.yaml m/int8 m/fp32", "m.yaml", ["m/int8", "m/fp32"]),
        ("lint a.yaml --strict b.yaml", ["a.yaml", "b.yaml"], None),
        ("run --force m.yaml --remote s3://b/p m/int8", "m.yaml", ["m/int8"]),
    ],
)
def test_options_may_stand_anywhere(line: str, manifests: str | list[str], selectors: list[str] | None) -> None:
    options = parse(line.split())
    assert getattr(options, "manifests" if selectors is None else "manifest") == manifests
    assert getattr(options, "selectors", None) == selectors


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lock --upgrade bert m.yaml", ("m.yaml", ["bert"])),
        ("lock --upgrade bert gpt2 m.yaml --offline", ("m.yaml", ["bert", "gpt2"])),
        ("lock --upgrade m.yaml", ("m.yaml", [])),
        ("lock m.yaml --upgrade bert", ("m.yaml", ["bert"])),
        ("lock m.yaml --upgrade", ("m.yaml", [])),
        ("lock m.yaml", ("m.yaml", None)),
    ],
)
def test_the_manifest_may_follow_the_names_to_upgrade(words: str, expected: tuple[str, list[str] | None]) -> None:
    options = parse(words.split())
    assert (options.manifest, options.upgrade) == expected


@pytest.mark.parametrize("words", ["lock", "lock --upgrade bert", "lock --upgrade a.yaml b.yaml"])
def test_lock_needs_one_manifest(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    assert ended.value.code == 2
    assert "the following arguments are required: MANIFEST" in capsys.readouterr().err


def test_no_other_option_swallows_the_manifest() -> None:
    """An option with any number of values takes every word after it; `parse` knows only that of `lock`."""
    greedy = {
        (name, action.option_strings[0])
        for name in COMMANDS
        for action in subcommand(parser(name), name)._actions
        if action.option_strings and action.nargs in {"*", "+", "?"}
    }
    assert greedy == {("lock", "--upgrade")}


_PATHS = {"DIR", "FILE", "MANIFEST", "MANIFEST|FOLDER", "BUILD", "('A', 'B')"}


def test_no_command_takes_an_empty_text_for_a_path() -> None:
    """It would be the current folder, or silently the default."""
    top = parser()
    actions = [(name, one) for name in COMMANDS for one in subcommand(top, name)._actions]
    paths = [(name, one) for name, one in actions if str(one.metavar) in _PATHS and one.dest != "listed"]
    assert {one.metavar for _, one in paths if isinstance(one.metavar, str)} == _PATHS - {"('A', 'B')"}
    for name, one in paths:
        assert callable(one.type), (name, one.dest)
        with pytest.raises(argparse.ArgumentTypeError, match="expected a path, found nothing"):
            one.type("")


@pytest.mark.parametrize("option", ["--against", "--profile"])
def test_a_dry_run_takes_no_option_that_needs_a_run(world: World, option: str) -> None:
    world.manifest(GOOD_AND_BAD)
    done = world.run("-n", option, "manifest.yaml")
    assert (done.code, done.out) == (2, "")
    assert f"`--dry-run` runs nothing, so it takes no `{option}`" in done.err


@pytest.mark.parametrize("verb", ["blame", "view"])
def test_a_command_about_one_variant_asks_for_one(verb: str) -> None:
    assert subcommand(parser(), verb).format_usage().endswith(" MANIFEST MODEL/TARGET\n")
