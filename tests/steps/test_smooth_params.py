"""When dynamic int8 is smoothed: what `smooth` becomes in the key, and which params are refused."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET

from onnxbuild.machine import Machine
from onnxbuild.steps.kind import Context
from onnxbuild.steps.quantize import QUANTIZE, QuantizeParams, precision_of

MACHINE = Machine(cpu="Toy", architecture="x86_64", flags=("avx2",), cores=2)


def context(task="text-classification", *, family="encoder", written=()):
    return Context(
        task=task,
        family=family,
        config=None,
        precision="fp32",
        previous=("export",),
        reference="checkpoint",
        device="cpu",
        machine=MACHINE,
        written=frozenset(written),
    )


def resolved(block, task="text-classification"):
    return QUANTIZE.resolve(msgspec.convert(block, QuantizeParams), context(task))


@pytest.mark.parametrize(
    ("block", "task", "expected"),
    [
        ({"method": "dynamic"}, "text-classification", "auto"),
        ({"method": "dynamic"}, "text2text-generation-with-past", "auto"),
        ({"method": "dynamic"}, None, "auto"),
        ({"method": "dynamic", "smooth": 0.7}, "fill-mask", 0.7),
        ({"method": "dynamic", "smooth": "off"}, "fill-mask", UNSET),
        ({"method": "dynamic"}, "image-classification", UNSET),
        ({"method": "dynamic"}, "automatic-speech-recognition-with-past", UNSET),
        ({"method": "weight-only"}, "fill-mask", UNSET),
        ({"method": "weight-only", "modules": {"a": {"method": "dynamic"}}}, "fill-mask", "auto"),
        ({"method": "auto", "subject_to": {"cosine_mean": ">= 0.9"}}, "fill-mask", "auto"),
    ],
)
def test_what_is_smoothed(block, task, expected):
    assert resolved(block, task).smooth == expected


def test_without_smoothing_the_params_are_those_of_before():
    plain = msgspec.to_builtins(resolved({"method": "dynamic", "smooth": "off", "samples": 7, "dataset": "d"}))
    assert plain == msgspec.to_builtins(resolved({"method": "dynamic"}, "image-classification"))
    assert not plain.keys() & {"smooth", "subject_to", "minimize", "trust_remote_code"}
    assert (plain["samples"], plain["dataset"]) == (64, "")
    kept = resolved({"method": "dynamic", "samples": 7, "dataset": "d"})
    assert (kept.samples, kept.dataset) == (7, "d")


def test_smoothing_puts_the_tokenizers_library_and_the_text_into_the_key():
    smoothed, plain = resolved({"method": "dynamic"}), resolved({"method": "dynamic", "smooth": "off"})
    assert "transformers" in QUANTIZE.packages(smoothed)
    assert "transformers" not in QUANTIZE.packages(plain)
    block = msgspec.convert({"method": "dynamic", "dataset": "d"}, QuantizeParams)
    assert QUANTIZE.columns(block, context()) == ("text",)
    assert QUANTIZE.columns(block, context("image-classification")) == ()


@pytest.mark.parametrize(
    ("block", "task", "codes"),
    [
        ({"method": "dynamic", "smooth": "off", "dataset": "d", "samples": 3}, "fill-mask", ["OB530", "OB530"]),
        ({"method": "dynamic", "dataset": "d"}, "image-classification", ["OB530"]),
        ({"method": "dynamic", "dataset": "d", "samples": 0}, "fill-mask", ["OB612"]),
        ({"method": "dynamic", "samples": 5}, "fill-mask", []),
        ({"method": "static", "dataset": "d", "smooth": "auto"}, "fill-mask", ["OB530"]),
        ({"method": "dynamic", "subject_to": {"top1": ">= 0.9"}}, "fill-mask", ["OB530"]),
        ({"method": "auto", "subject_to": {"top1": ">= 0.9"}, "bits": 8}, "fill-mask", ["OB530"]),
        ({"method": "auto", "subject_to": {"top1": ">= 0.9"}, "modules": {"a": "fp32"}}, "fill-mask", ["OB530"]),
    ],
)
def test_what_is_refused(block, task, codes):
    faults = list(QUANTIZE.check(msgspec.convert(block, QuantizeParams), context(task, written=block)))
    assert [one.code for one in faults] == codes


def test_a_search_has_the_bounds_of_int8():
    assert precision_of(resolved({"method": "auto", "subject_to": {"top1": ">= 0.9"}})) == "int8"
