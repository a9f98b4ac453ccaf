"""Error rates beside jiwer's own values, on cases small enough to check by hand; and what CTC and prompts come to."""

from __future__ import annotations

import numpy as np
import pytest

for module in ("onnxruntime", "jiwer", "scipy"):
    pytest.importorskip(module)

from onnxbuild.workers.validate.by_task.intervals import interval_of  # noqa: E402
from onnxbuild.workers.validate.of_files import transcribed  # noqa: E402
from onnxbuild.workers.validate.of_files.error_rates import of_transcripts  # noqa: E402

RIGHT = ["the cat sat on the mat", "good morning"]
WANTED = ["the cat sat on the mat", "good morning"]
ACTUAL = ["the cat sat on mat", "could morning to"]  # one word left out; one exchanged, one added


def by_name(found):
    return {one.metric: one for one in found}


def test_word_errors_are_counted_over_all_words_as_jiwer_counts_them():
    import jiwer

    found = by_name(of_transcripts(WANTED, ACTUAL, None))
    assert set(found) == {"transcript_wer", "transcript_cer"}
    assert found["transcript_wer"].value == jiwer.wer(WANTED, ACTUAL) == 3 / 8
    assert found["transcript_cer"].value == jiwer.cer(WANTED, ACTUAL)
    assert np.mean([1 / 6, 2 / 2]) != 3 / 8  # a mean over recordings would weigh short ones more


def test_both_sides_are_compared_with_what_is_said():
    found = by_name(of_transcripts(["the cat sat on a mat", "good morning"], ACTUAL, RIGHT))
    assert (found["wer"].value, found["wer"].reference) == (3 / 8, 1 / 8)
    low, high = interval_of(found["wer"], seed=0)
    assert low <= 3 / 8 <= high


def test_neither_case_nor_punctuation_is_an_error():
    found = by_name(of_transcripts(["Don't sit, Anna!"], ["dont  sit anna"], ["DON'T SIT ANNA"]))
    assert [one.value for one in found.values()] == [0.0] * 4


def test_words_where_there_is_nothing_to_hear_count_as_edits():
    found = by_name(of_transcripts(["", "a b"], ["a", "a b"], None))
    assert found["transcript_wer"].value == 1 / 2
    assert by_name(of_transcripts(["", ""], ["", ""], None))["transcript_wer"].value == 0.0
    assert by_name(of_transcripts([""], ["so on"], None))["transcript_wer"].value == 2.0


def test_the_interval_of_a_rate_resamples_recordings_and_not_words():
    """Scipy's own bootstrap of the ratio of sums."""
    from scipy.stats import bootstrap

    generator = np.random.default_rng(1)
    words = [["one", "two", "three", "four", "five"][: generator.integers(1, 6)] for _ in range(40)]
    wanted = [" ".join(one) for one in words]
    actual = [" ".join(word if generator.random() > 0.2 else "other" for word in one) for one in words]
    (rate, _) = of_transcripts(wanted, actual, None)
    expected = bootstrap(
        rate.parts, lambda a, b, axis=-1: a.sum(axis) / b.sum(axis), paired=True, n_resamples=1999, method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert interval_of(rate, seed=0) == pytest.approx(tuple(expected), abs=1e-9)


def test_ctc_joins_runs_and_keeps_letters_that_a_blank_parts():
    assert transcribed.without_repeats([5, 5, 0, 5, 6, 6, 0, 0, 7], blank=0) == [5, 5, 6, 7]
    assert transcribed.without_repeats([0, 0], blank=0) == []


WHISPER = {"lang_to_id": {"<|en|>": 10, "<|de|>": 11}, "task_to_id": {"transcribe": 20, "translate": 21}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # whisper-tiny as it is on the Hub: the task is forced, and generate() adds that no time stamps are written.
        (
            {**WHISPER, "forced_decoder_ids": [[1, None], [2, 20]], "no_timestamps_token_id": 30},
            ({2: 20, 3: 30}, {1: [10, 11]}),
        ),
        ({**WHISPER, "no_timestamps_token_id": 30}, ({2: 20, 3: 30}, {1: [10, 11]})),
        ({"forced_decoder_ids": [[1, 30]], "no_timestamps_token_id": 30}, ({1: 30}, {})),  # whisper-tiny.en
        ({**WHISPER, "forced_decoder_ids": [[1, 11], [2, 20]]}, ({1: 11, 2: 20}, {})),  # one language
        ({}, ({}, {})),  # Moonshine
    ],
)
def test_whispers_prompt(settings, expected):
    assert transcribed._prompt(settings) == expected
