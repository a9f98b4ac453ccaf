"""A build with throughputs that never ran: rates that are easy to check."""

from evidence_worlds import benchmark, outcomes, result, trace
from msgspec import structs
from report_worlds import BERT, FP32

from onnxbuild.report.evidence.gathering import gather


def spread(median):
    return {"median": median, "min": median * 0.9, "max": median * 1.1}


def setting(batch, workers, own, torch, *, order="sorted", least=None):
    ratio = own / torch
    return {
        "longer_than": 0, "tokenized": "before", "order": order, "batch": batch, "workers": workers, "threads": 1,
        "texts": 60, "tokens": 1200, "padding_ratio": 1.0 if batch == 1 else 1.25,
        "engines": {
            name: {"texts_per_second": spread(rate), "tokens_per_second": rate * 20, "contended": contended}
            for name, rate, contended in (("onnxruntime", own, False), ("torch", torch, batch == 8))
        },
        "speedup": {"torch": {"median": ratio, "min": least or ratio * 0.9, "max": ratio * 1.1}},
    }  # fmt: skip


def best(engine, batch, workers, rate):
    place = {"longer_than": 0, "tokenized": "before", "order": "sorted", "batch": batch, "workers": workers}
    return place | {"engine": engine, "threads": 1, "texts_per_second": rate}


THROUGHPUT = {
    "results": [
        setting(1, 1, 100.0, 50.0),
        setting(8, 1, 150.0, 160.0, least=0.9),
        setting(1, 2, 190.0, 90.0),
    ],
    "best": [best("onnxruntime", 1, 2, 190.0), best("torch", 8, 1, 160.0)],
}


def outcomes_with_throughput(facts=THROUGHPUT):
    latency = benchmark(FP32.name, result(20.0, 30.0))
    measured = structs.replace(latency, facts={**latency.facts, "throughput": facts})
    return outcomes() | {measured.id: measured}


def evidence_with_throughput(facts=THROUGHPUT):
    return gather(BERT, outcomes_with_throughput(facts), trace, source="toy.yaml", ended=1_800_000_000.0)
