from onnxbuild.diagnostics import Source, did_you_mean


def test_the_nearest_word():
    assert did_you_mean("per_chanel", ["per_channel", "preset"]) == "did you mean `per_channel`?"
    assert did_you_mean("zzz", ["per_channel", "preset"]) is None


def test_the_nearest_of_many_words():
    known = [f"target-number-{index}" for index in range(1000)]
    assert did_you_mean("targett-nunber-777", known) == "did you mean `target-number-777`?"
    assert did_you_mean("arget-number-12", known) == "did you mean `target-number-12`?"
    assert did_you_mean("zzz", known) is None


def test_lines_count_from_one():
    source = Source("m.yaml", "a\nb")
    assert [source.line(number) for number in range(4)] == ["", "a", "b", ""]
