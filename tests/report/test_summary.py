# ruff: noqa: RUF001 - dashes and signs are as the table prints them
import re

import pytest
from report_worlds import BERT, EXPORT, FETCH, FP32, INT8, O2, OPTIMIZE, QUANTIZE, outcome, outcomes_of

from onnxbuild.deliver.variant_rows import rows
from onnxbuild.execute.events import Reason
from onnxbuild.protocol import Failure
from onnxbuild.report.render_diagnostics import as_text as diagnostic
from onnxbuild.report.result.failed_actions import failures
from onnxbuild.report.result.result_table import as_text
from onnxbuild.report.result.summary import closing_line, summary

REBUILT = (Reason("packages.onnxruntime", "1.30.0", "1.31.1"),)


def check(variant, cosine, *, bound, failed=False, how="hit", **fields):
    facts = {
        "passed": not failed,
        "metrics": {"max_abs": 0.5, "cosine_mean": cosine},
        "thresholds": {"cosine_mean": bound},
    }
    name = f"{variant.name}:validate"
    if not failed:
        return outcome(name, how, facts=facts, **fields)
    message = f"`cosine_mean` is {cosine}, below {bound} (last_hidden_state)"
    return outcome(name, "failed", failure=Failure(code="OBE04", message=message, facts=facts), **fields)


def headline(variant, p50, torch, *, contended=False):
    facts = {"headline": {"p50_ms": p50, "baseline_p50_ms": torch, "speedup": torch / p50, "contended": contended}}
    return outcome(f"{variant.name}:benchmark", "built", facts=facts, seconds=10)


def test_where_rows_have_labels_the_share_of_right_ones_is_shown():
    dataset = {"name": "reviews", "rows": 200, "agreement": 0.97, "accuracy": 0.905, "accuracy_reference": 0.91}
    facts = {"passed": True, "metrics": {"top1": 0.97}, "thresholds": {"top1": 0.9}, "dataset": dataset}
    table = as_text(rows(BERT, outcomes_of(outcome(f"{INT8.name}:validate", "built", facts=facts))))
    assert table.splitlines()[0].split() == ["variant", "accuracy", "top-1"]
    assert table.splitlines()[-1].split() == ["bert/int8", "0.9050", "0.9700"]


def test_a_failure_of_a_first_run_does_not_say_that_nothing_was_built():
    failed = outcome(EXPORT, "failed", failure=Failure(code="OBE05", message="x"), reasons=(Reason("trace", None, 1),))
    assert failures(BERT, outcomes_of(failed))[0].notes == ()


def test_a_run_in_colour_says_the_same_words():
    plain = summary(BERT, a_run(), seconds=41.3, width=100)
    coloured = summary(BERT, a_run(), seconds=41.3, width=100, colour=True)
    words = [re.sub(r"\x1b\[[\d;]*m", "", coloured).split(), plain.split()]
    assert sorted(words[0]) == sorted(words[1])
    assert "\x1b[31mFAILED\x1b[0m" in coloured


def a_run():
    return outcomes_of(
        outcome(FETCH, "hit"),
        outcome(EXPORT, "hit", facts={"bytes": 91_000_000, "files": {"model.onnx": {"bytes": 90_400_000}}}),
        outcome(OPTIMIZE, "hit", facts={"bytes": 90_300_000}),
        outcome(QUANTIZE, "built", facts={"bytes": 22_900_000}, reasons=REBUILT, seconds=3),
        check(FP32, 1.0, bound=0.9999),
        check(O2, 0.99999, bound=0.9999),
        check(
            INT8,
            0.971,
            bound=0.99,
            failed=True,
            reasons=(Reason("inputs.model", "a", "b"),),
            log=".onnxbuild/logs/bert+int8+validate.txt",
        ),
        headline(FP32, 25.61, 33.2),
        headline(O2, 30.0, 33.0, contended=True),
        outcome(f"{INT8.name}:benchmark", "blocked", blocked_by=f"{INT8.name}:validate"),
    )


def test_the_end_of_a_run_with_a_failed_check():
    assert summary(BERT, a_run(), seconds=41.3, manifest="manifests/bert.yaml", options=["-D", "a=7 8"]) == (
        "variant       size         cosine   check  latency p50  PyTorch p50  speed-up\n"
        "bert/fp32  90.4 MB         1.0000  passed      25.6 ms      33.2 ms     1.30×\n"
        "bert/o2    90.3 MB         1.0000  passed     30.0 ms*      33.0 ms     1.10×\n"
        "bert/int8  22.9 MB  0.9710 < 0.99  FAILED            –            –         –\n"
        "\n"
        "* measured while other programs used the cores: compare within a row, not across runs\n"
        "\n"
        "OBE04 bert/int8:validate failed: `cosine_mean` is 0.971, below 0.99 (last_hidden_state)\n"
        "  = ran because: input `model` changed (quantize was rebuilt: onnxruntime 1.30.0 → 1.31.1)\n"
        "  = first step that breaks it: quantize (fp32 1.0000, o2 1.0000, int8 0.9710)\n"
        "  = accept: if this difference is acceptable for `int8`, add to that target\n"
        "            targets:\n"
        "              int8:\n"
        "                validate: {thresholds: {cosine_mean: 0.97}}\n"
        "  = log: .onnxbuild/logs/bert+int8+validate.txt\n"
        "  = again: onnxbuild run manifests/bert.yaml bert/int8:validate -D 'a=7 8'\n"
        "\n"
        "built 3, unchanged 0, hit 5, failed 1, blocked 1 in 41s"
    )


def test_an_earlier_stage_is_named_where_it_breaks_first():
    outcomes = a_run() | outcomes_of(check(O2, 0.95, bound=0.9999, failed=True))
    blamed = [diagnostic(one) for one in failures(BERT, outcomes) if one.subject == "bert/int8:validate"]
    assert "  = first step that breaks it: optimize (fp32 1.0000, o2 0.9500, int8 0.9710)" in blamed[0].splitlines()


def test_stages_that_nobody_checked_are_not_cleared():
    outcomes = a_run()
    del outcomes[f"{O2.name}:validate"]
    notes = dict(failures(BERT, outcomes)[0].notes)
    assert notes["first step that breaks it"] == "optimize or quantize (fp32 1.0000, int8 0.9710)"


def test_a_variant_alone_blames_no_step():
    outcomes = a_run()
    del outcomes[f"{O2.name}:validate"], outcomes[f"{FP32.name}:validate"]
    assert "first step that breaks it" not in dict(failures(BERT, outcomes)[0].notes)


def test_a_warned_check_is_marked_and_no_failure():
    warned = outcome(
        f"{FP32.name}:validate",
        "built",
        facts={"passed": False, "metrics": {"cosine_mean": 0.9}, "thresholds": {"cosine_mean": 0.98}},
    )
    (row, *_) = rows(BERT, outcomes_of(warned))
    assert (row.verdict, row.metrics["cosine_mean"].value) == ("warned", 0.9)
    assert as_text([row]) == "variant           cosine   check\nbert/fp32  0.9000 < 0.98  WARNED"


def test_a_failure_with_notes_of_its_own_and_a_name_that_a_shell_would_split():
    failure = Failure(code="OBE05", message="the worker died\nout of memory", notes=(("hint", "fewer jobs"),))
    failed = outcome("my model/a:export", "failed", failure=failure)
    (one,) = failures(BERT, outcomes_of(failed), manifest="a b.yaml")
    assert diagnostic(one) == (
        "OBE05 my model/a:export failed: the worker died\n"
        "    out of memory\n"
        "  = hint: fewer jobs\n"
        "  = again: onnxbuild run 'a b.yaml' 'my model/a:export'"
    )


@pytest.mark.parametrize(
    ("hows", "options", "line"),
    [
        (["hit"] * 12, {}, "up to date: 12 actions, nothing to do"),
        (["hit"], {}, "up to date: 1 action, nothing to do"),
        ([], {}, "up to date: 0 actions, nothing to do"),
        (["hit"] * 5, {"fetched": 2}, "up to date: 5 actions, 2 fetched from the remote store"),
        (
            ["built", "hit", "hit", "blocked"],
            {"fetched": 1},
            "built 1, unchanged 0, hit 2 (1 fetched from the remote store), failed 0, blocked 1 in 41s",
        ),
        (["built"] * 9 + ["hit"] * 3, {}, "built 9, unchanged 0, hit 3, failed 0 in 41s"),
        (
            ["hit", "built", "unchanged", *["skipped"] * 9, "failed"],
            {"interrupted": True},
            "interrupted: 3 of 13 finished and kept; run again to continue",
        ),
    ],
)
def test_the_closing_line(hows, options, line):
    outcomes = outcomes_of(*(outcome(f"a{n}:x", how) for n, how in enumerate(hows)))
    assert closing_line(outcomes, 41, **options) == line
