"""What changed between two builds, and what is only noise."""

import json

import pytest
from evidence_worlds import BERT, benchmark, evidence, outcomes, result, trace, validation
from msgspec import structs
from report_worlds import FP32, INT8
from throughput_worlds import evidence_with_throughput, setting

from onnxbuild.report.evidence.compared_figures import Figure, is_of_a_machine
from onnxbuild.report.evidence.comparison import compare
from onnxbuild.report.evidence.comparison_text import as_json, as_markdown, as_text
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.evidence.saved import evidence_of, read_delivered, read_report
from onnxbuild.tables.regressions import FIGURES, allowance, worse_way


def changed(**by_name):
    """The toy build with other outcomes."""
    other = outcomes() | {one.id: one for one in by_name.values()}
    return gather(BERT, other, trace, source="new.yaml", ended=None)


def verdicts(comparison, variant):
    return {
        (change.figure, change.where): (change.verdict, change.breach)
        for change in comparison.changes
        if change.variant == variant
    }


def slower_than(milliseconds):
    """A benchmark of which only the first configuration differs."""
    return benchmark(FP32.name, result(milliseconds, 30.0), result(90.0, 88.0, batch=8, least=0.9))


def bounds(**texts):
    return {name.replace("_p50", ".p50"): allowance(text) for name, text in texts.items()}


def test_a_build_is_equal_to_itself():
    found = compare(evidence(), evidence(), bounds(latency_p50="+0%", cosine_mean="-0%"))
    assert {change.verdict for change in found.changes} == {"equal"}
    assert found.broken == ()


def test_what_lies_apart_is_better_or_worse_and_what_overlaps_is_undecided():
    after = changed(
        faster=benchmark(FP32.name, result(10.0, 30.0, compiled=25.0), result(90.1, 88.0, batch=8, least=0.9)),
        validated=validation(FP32.name, 0.9999, 0.9999),
    )
    found = verdicts(compare(evidence(), after), FP32.name)
    assert found["latency.p50", ""] == ("better", None)
    assert found["speedup", ""] == ("better", None)
    assert found["latency.p50", "batch 8, 37 tokens, 1 thread"] == ("undecided", None)
    assert found["cosine_mean", ""] == ("worse", None)
    assert found["size", ""] == ("equal", None)


def test_a_bound_is_broken_only_beyond_the_whole_interval():
    slower = changed(slower=slower_than(21.2))
    found = verdicts(compare(evidence(), slower, bounds(latency_p50="+5%")), FP32.name)
    # 5 % of 20 ms is 21 ms. The interval of 7 calls with a deviation of 0.5 ms is 21.2 ± 0.46.
    assert found["latency.p50", ""] == ("worse", "undecided")
    slower = changed(slower=slower_than(21.5))
    found = verdicts(compare(evidence(), slower, bounds(latency_p50="+5%")), FP32.name)
    assert found["latency.p50", ""] == ("worse", "broken")
    slower = changed(slower=slower_than(20.5))
    assert compare(evidence(), slower, bounds(latency_p50="+5%")).broken == ()


def test_a_bound_may_be_an_amount_and_exact_figures_have_no_interval():
    worse = changed(worse=validation(FP32.name, 0.995, 0.9))
    assert compare(evidence(), worse, bounds(cosine_mean="-0.004")).broken[0].variant == FP32.name
    assert compare(evidence(), worse, bounds(cosine_mean="-0.006")).broken == ()


def test_an_interval_of_the_validation_is_used():
    one = validation(FP32.name, 0.995, 0.9)
    wide = structs.replace(one, facts=one.facts | {"intervals": {"cosine_mean": [0.99, 1.0]}})
    found = verdicts(compare(evidence(), changed(one=wide), bounds(cosine_mean="-0.004")), FP32.name)
    assert found["cosine_mean", ""] == ("undecided", "undecided")


def test_what_is_not_measured_any_more_breaks_its_bound():
    gone = outcomes()
    del gone[f"{INT8.name}:benchmark"]
    after = gather(BERT, gone, trace, source="new.yaml", ended=None)
    (broken,) = compare(evidence(), after, bounds(latency_p50="+5%")).broken
    assert (broken.variant, broken.figure, broken.verdict) == (INT8.name, "latency.p50", "gone")


def test_variants_of_one_build_alone_are_named():
    one = structs.replace(evidence(), variants=evidence().variants[:2])
    text = as_text(compare(one, evidence()))
    assert f"only after: {INT8.name}" in text
    assert f"only before: {INT8.name}" in as_text(compare(evidence(), one))


def test_builds_of_two_machines_are_not_comparable_in_milliseconds():
    def other(key):
        found = trace(key)
        machine = found.parts["machine"]
        return structs.replace(found, parts={**found.parts, "machine": machine and machine | {"cpu": "Toy 4000"}})

    after = gather(BERT, outcomes(), other, source="new.yaml", ended=None)
    assert "measured on different machines" in as_text(compare(evidence(), after))

    # A bound on milliseconds would fail on a slower machine, and hide a regression on a faster one.
    slower = outcomes() | {one.id: one for one in [slower_than(40.0)]}
    after = gather(BERT, slower, other, source="new.yaml", ended=None)
    found = compare(evidence(), after, bounds(latency_p50="+5%", speedup="-5%"))
    assert found.machines_differ
    judged = verdicts(found, FP32.name)
    assert (judged["latency.p50", ""][1], judged["speedup", ""][1]) == ("incomparable", "broken")
    assert f"not judged, because another machine measured: {FP32.name} latency.p50" in as_text(found)


def test_a_bound_that_neither_build_has_a_figure_for_is_named():
    found = compare(evidence(), evidence(), bounds(ndcg="-0.5%", size="+1%"))
    assert found.unjudged == ("ndcg",)
    assert "not judged, because neither build has it: ndcg" in as_text(found)


def test_a_narrow_table_names_the_figure_of_every_row():
    lines = as_text(compare(evidence(), changed(slower=slower_than(40.0))), 60).splitlines()
    values = [line for line in lines if line.startswith(FP32.name)]
    assert {line.split()[1] for line in values} >= {"size", "speedup", "latency.p50"}
    assert all(len(line) <= 60 for line in lines if " " in line and not line.startswith("only"))


def test_builds_without_a_common_variant_have_not_stayed_the_same():
    other = structs.replace(evidence(), variants=())
    assert as_text(compare(other, evidence())).startswith("the two builds have no variant in common")
    assert "The two builds have no variant in common." in as_markdown(compare(evidence(), other))


def test_a_name_of_somebody_else_begins_nothing_in_markdown():
    evil = structs.replace(evidence(), source="x\n# y <img src=//z>", variants=())
    text = as_markdown(compare(evil, evidence()))
    assert "### x # y &lt;img src=//z> → " in text
    assert "\n# y" not in text


def test_the_texts_say_the_same():
    after = changed(slower=slower_than(40.0))
    found = compare(evidence(), after, bounds(latency_p50="+5%"))
    text = as_text(found)
    line = next(line for line in text.splitlines() if "latency.p50" in line and FP32.name in line)
    before, after_ = "20.0 ms (19.5 ms to 20.5 ms)", "40.0 ms (39.5 ms to 40.5 ms)"
    assert line.split() == f"bert/fp32 latency.p50 {before} {after_} +100.0% BROKEN +5%".split()
    assert "1 regression: bert/fp32 latency.p50 beyond +5%" in text
    assert "| bert/fp32 | latency.p50 | 20.0 ms" in as_markdown(found)
    whole = json.loads(as_json(found))
    (broken,) = [change for change in whole["changes"] if change["breach"] == "broken"]
    assert (broken["figure"], broken["before"]["value"], broken["after"]["value"]) == ("latency.p50", 20.0, 40.0)


def test_a_saved_report_is_read_back_whole():
    text = json.dumps(json.loads(as_json_of(evidence()))).encode()
    assert read_report(text) == evidence()


def as_json_of(one):
    from onnxbuild.report.evidence.formats import as_json as report_as_json

    return report_as_json(one)


def test_descriptions_of_delivered_folders_are_a_build():
    steps = [
        {"id": "m:export", "kind": "export", "key": "e", "params": {}, "packages": {}, "toolchain": {}, "machine": None,
         "facts": {"bytes": 3_000_000}, "outputs": {}, "inputs": {}, "version": 1},
        {"id": "m/a:validate", "kind": "validate", "key": "v", "params": {}, "packages": {}, "toolchain": {},
         "machine": None, "facts": {"metrics": {"max_abs": 0.5}, "thresholds": {"max_abs": 1}, "passed": True}},
    ]  # fmt: skip
    text = json.dumps({"model": "m", "target": "a", "precision": "fp32", "files": {}, "steps": steps}).encode()
    (variant,) = evidence_of([read_delivered(text)], "out").variants
    assert (variant.name, variant.row.size_bytes, variant.row.verdict) == ("m/a", 3_000_000, "passed")
    assert [(check.metric, check.value, check.bound) for check in variant.checks] == [("max_abs", 0.5, 1.0)]


@pytest.mark.parametrize(
    ("text", "before", "limit"),
    [("+5%", 20.0, 21.0), ("-0.5%", 0.8, 0.796), ("+0.01", -0.5, -0.49), ("-3", 10.0, 7.0), ("-5%", -2.0, -2.1)],
)
def test_a_bound_is_a_share_or_an_amount(text, before, limit):
    assert allowance(text).limit(before) == pytest.approx(limit)


@pytest.mark.parametrize("text", ["5%", "+5 %", "+", "+x%", "", "+1e3", "--1"])
def test_anything_else_is_no_bound(text):
    assert allowance(text) is None


def test_every_figure_knows_which_way_is_worse():
    assert {name: worse_way(name) for name in ("size", "latency.p50", "max_abs", "kl_mean")} == dict.fromkeys(
        ("size", "latency.p50", "max_abs", "kl_mean"), 1
    )
    assert {worse_way(name) for name in ("accuracy", "cosine_mean", "top1", "speedup")} == {-1}
    assert "accuracy_drop" in FIGURES


def throughput(best, *, other=100.0):
    """A throughput of two settings; the range of the passes is a tenth to each side."""
    return {"results": [setting(1, 1, other, 50.0), setting(1, 2, best, 90.0)]}


def rated(before, after, text="-5%"):
    builds = (evidence_with_throughput(throughput(one)) for one in (before, after))
    return compare(*builds, {"throughput": allowance(text)})


def test_texts_per_second_of_the_fastest_setting_are_compared_and_bounded():
    found = rated(190.0, 100.0)
    (change,) = (one for one in found.changes if one.figure == "throughput")
    assert (change.variant, change.where, change.verdict, change.breach) == (FP32.name, "", "worse", "broken")
    assert change.before == Figure(190.0, 171.0, 209.00000000000003)
    assert f"1 regression: {FP32.name} throughput beyond -5%" in as_text(found)
    assert "190.0 (171.0 to 209.0)" in as_text(found)
    # 5 % of 190 are 9.5: the passes of 180 reach from 162 to 198.
    assert [one.breach for one in rated(190.0, 180.0).changes if one.figure == "throughput"] == ["undecided"]
    assert rated(190.0, 300.0).broken == ()
    assert [one.verdict for one in rated(190.0, 300.0).changes if one.figure == "throughput"] == ["better"]


def test_every_setting_is_in_json_and_only_the_fastest_in_the_table():
    found = rated(190.0, 100.0)
    settings = [one for one in found.changes if one.figure == "texts_per_second"]
    assert [(one.where, one.verdict) for one in settings] == [
        ("batch 1, sorted, 1 worker, 1 thread", "equal"),
        ("batch 1, sorted, 2 workers, 1 thread", "worse"),
    ]
    assert "texts_per_second" in as_json(found)
    assert "texts_per_second" not in as_text(found)


def test_a_throughput_that_is_not_measured_any_more_breaks_its_bound():
    found = compare(evidence_with_throughput(), evidence(), {"throughput": allowance("-5%")})
    assert [(one.figure, one.verdict) for one in found.broken] == [("throughput", "gone")]


def test_texts_per_second_of_two_machines_are_not_judged():
    assert {name for name in (*FIGURES, "texts_per_second") if is_of_a_machine(name)} == {
        "latency.p50", "latency.p90", "latency.p99", "latency.mean", "tokens_per_second", "first_token", "throughput",
        "texts_per_second",
    }  # fmt: skip
