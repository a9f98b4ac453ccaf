"""Codes of targets for Qualcomm Cloud AI 100."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described(
        "OB810",
        "model-unfit-for-qaic",
        """
        A model cannot be written for Cloud AI 100.

        Why: the card keeps the cache of a decoder between two runs, so the graph is written from the checkpoint, in a
        special form. onnxbuild can write it for some families, and QEfficient, Qualcomm's package, for more.
        Fix: write `producer: qefficient`, and name a toolchain that has the package.
        """,
    ),
    described(
        "OB811",
        "step-before-qaic",
        """
        A step that changes the ONNX graph comes before `compile: qaic`.

        Why: the graph for the card is written from the checkpoint, and would not have the change.
        Bad:
            quantize: int8
            compile: qaic
        Good:
            compile: {backend: qaic, mxfp6: true}
        """,
    ),
    described(
        "OB812",
        "size-unfit-for-qaic",
        """
        A number of a program for Cloud AI 100 does not fit the others, the model or the card.

        Why: a program has fixed shapes. The cache of `ctx_len` tokens holds the prompt and the answer, so a chunk of a
        prompt must be shorter. Neither the cache nor a length of an encoder can exceed the positions of the model. A
        device has 16 cores.
        Bad:
            compile: {backend: qaic, prefill_seq_len: 128, ctx_len: 128}
        Good:
            compile: {backend: qaic, prefill_seq_len: 32, ctx_len: 128}
        """,
    ),
    described(
        "OB813",
        "param-without-effect-on-qaic",
        """
        A param of `compile: qaic` has no effect, or contradicts another one.

        Why: decoders have a cache, encoders have lengths and a pooling. With `full_batch_size`, each prompt is read
        alone, so `batch_size` has no effect. A program on one device has no partitions.
        Bad:
            compile: {backend: qaic, batch_size: 4, full_batch_size: 4}
        Good:
            compile: {backend: qaic, full_batch_size: 4}
        """,
    ),
    described(
        "OB814",
        "option-of-qaic-taken",
        """
        `options` has an option of the compiler that onnxbuild writes itself, or an argument of Efficient Transformers.

        Why: the compiler would get an option twice, or one that it does not know.
        Bad:
            compile: {backend: qaic, options: {aic_num_cores: 8}}
        Good:
            compile: {backend: qaic, num_cores: 8}
        """,
    ),
    described(
        "OB815",
        "qefficient-not-in-toolchain",
        """
        A target asks for `producer: qefficient`, and the model's toolchain does not have QEfficient.

        Why: the package writes the graph, in the interpreter of the toolchain. No other package brings it along, and it
        is not on PyPI.
        Fix: install it from its repository, into the environment that the toolchain names with `python:`.
        """,
    ),
)
