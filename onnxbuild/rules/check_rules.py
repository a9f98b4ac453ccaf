"""Codes of the steps that read a graph (validate, benchmark, generate, tune) and of datasets. Found by their checks."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB610", "unknown-metric", """
        A threshold for a metric that validation does not compute.

        Bad:
            validate: {thresholds: {cosine: 0.99}}
        Good:
            validate: {thresholds: {cosine_mean: 0.99}}
        """),
    described("OB642", "unreachable-threshold", """
        A threshold outside of the values that its metric can have.

        Why: every variant would fail, or none would, whatever it computes: a cosine is at most 1.
        Bad:
            validate: {thresholds: {cosine_mean: 1.5}}
        Good:
            validate: {thresholds: {cosine_mean: 0.95}}
        """),
    described("OB660", "unreadable-threshold", """
        A threshold written as text that is no bound, or that accepts what is worse.

        Why: text is for bounds such as `>= fp32 - 0.01`, which are relative to the reference. A metric whose larger
        values are better is bounded from below, any other one from above.
        Bad:
            validate: {thresholds: {accuracy: "fp32 - 0.01"}}
        Good:
            validate: {thresholds: {accuracy: ">= fp32 - 0.01"}}
        """),
    described("OB661", "threshold-without-reference", """
        A threshold relative to fp32 for a metric that the reference has no value of.

        Why: metrics such as `label_agreement` compare the variant with the reference. Only those that compare both
        with labels, such as `accuracy`, have a value for the reference too.
        Bad:
            validate: {thresholds: {label_agreement: ">= fp32 - 0.01"}}
        Good:
            validate: {thresholds: {label_agreement: ">= 0.99"}}
        """),
    described("OB690", "dataset-file-unusable", """
        A row of a dataset names a recording or a picture that cannot be an input of the check.

        Why: the files that rows name are part of the check's key, so each of them must exist below the folder of the
        rows. Rows in the manifest itself cannot name files.
        Bad: a row `{"audio": "../clips/1.wav"}` in `data/speech.jsonl`.
        Good: a row `{"audio": "clips/1.wav"}`, and the file `data/clips/1.wav`.
        """),
    described("OB611", "empty-shape", """
        A validation shape without samples or tokens.

        Bad:
            validate: {shapes: [[0, 16]]}
        Good:
            validate: {shapes: [[1, 16]]}
        """),
    described("OB612", "count-below-one", """
        A number of samples, tokens, threads, iterations or rounds that is below one, or an empty list of them.

        Bad:
            benchmark: {batch: [0]}
        Good:
            benchmark: {batch: [1]}
        """),
    described("OB616", "call-too-large", """
        More tokens in one call of the model than fit into memory.

        Why: the samples are made before the model runs, so a zero too many fills the memory for minutes, and ends in a
        killed worker.
        Bad:
            benchmark: {batch: [1000000000000]}
        Good:
            benchmark: {batch: [1000]}
        """),
    described("OB613", "more-threads-than-cores", """
        A benchmark with more threads than this machine has cores.

        Why: it would measure the scheduler of the operating system.
        """, severity="warning"),
    described("OB675", "throughput-without-text", """
        A `throughput:` block for a model that does not read a text in one pass.

        Why: texts per second are measured on classifiers, embedders and other encoders. A model that writes text does
        as many passes as it writes tokens.
        Fix: remove `throughput:`, and measure with `generate:`.
        """),
    described("OB676", "more-processes-than-cores", """
        A throughput with more processes, each with its threads, than this machine has cores.

        Why: processes that share a core wait for each other, so that more of them are not faster.
        Bad:
            benchmark: {throughput: {workers: [1, 64]}}
        Good:
            benchmark: {throughput: {workers: [1, 2]}}
        """, severity="warning"),
    described("OB614", "nothing-to-generate", """
        A `generate:` block for a task that produces no text.

        Fix: remove `generate:`, or choose a task that generates.
        """),
    described("OB615", "dataset-not-read", """
        A dataset that validation cannot read, or a field that has no effect without one.

        Why: rows of a dataset are text, recordings for speech recognition or pictures for image classification;
        `samples` and `sequence` choose among them, `accuracy_drop` needs labels, and a metric may belong to another
        task.
        Bad:
            validate: {samples: 500}
        Good:
            validate: {dataset: reviews, samples: 500}
        """),
    described("OB620", "sequence-too-long", """
        A sequence that is longer than the positions that the model has.

        Why: the model fails on it; rows of a dataset are cut, so that a longer `sequence` has no effect.
        Bad:
            models: {m: {source: {random: gpt2, config: {n_positions: 64}}, benchmark: {sequence: [128]}}}
        Good:
            models: {m: {source: {random: gpt2, config: {n_positions: 64}}, benchmark: {sequence: [32]}}}
        """),
    described("OB621", "dataset-lacks-column", """
        A dataset without a column that a step reads.

        Why: without `columns:`, a role such as `text` is read from the column of that name.
        Bad:
            datasets: {reviews: {source: "file:reviews.jsonl"}}          # {"sentence": …}
        Good:
            datasets: {reviews: {source: "file:reviews.jsonl", columns: {text: sentence}}}
        """),
    described("OB685", "no-single-goal", """
        A `tune:` with two goals, or a condition that is none.

        Why: one figure is made small or large, and conditions bound the others. A latency is bounded from above, a
        throughput from below.
        Bad:
            tune: {minimize: latency.p50, subject_to: {throughput: "100"}}
        Good:
            tune: {minimize: latency.p50, subject_to: {throughput: ">= 100"}}
        """),
    described("OB686", "not-a-cpu-session", """
        A `tune:` of a variant that ONNX Runtime does not run on the CPU.

        Why: the settings are those of a session on the CPU. With `load: false` and `validate: false`, no step knows
        that ONNX Runtime opens the graph at all.
        Bad:
            targets: {gpu: {device: cuda, tune: {}}}
        Good:
            targets: {cpu: {tune: {}}}
        """),
    described("OB687", "tuned-beyond-cores", """
        A `tune:` that tries more threads than this machine has cores.

        Why: the threads would take turns, and settings of another machine cannot be measured on this one.
        """),
    described("OB702", "best-of-nothing", """
        A `tune: best` in a model without `select`.

        Why: only the variant that `select` chooses is tuned, and nothing is chosen.
        Bad:
            tune: best
        Good:
            select: {minimize: size_mb}
            tune: best
        """),
    described("OB688", "tuning-without-effect", """
        A param of `tune:` that cannot do what it says.

        Why: the 99th percentile of fewer than 100 calls is about the slowest of them, which another program decides;
        numbers of threads are not tried if `settings` does not name `threads`.
        Bad:
            tune: {minimize: latency.p99, iterations: 20}
        Good:
            tune: {minimize: latency.p99, iterations: 200}
        """, severity="warning"),
)  # fmt: skip
