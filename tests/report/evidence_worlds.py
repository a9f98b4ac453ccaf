"""Evidence of a build that never ran, with numbers that are easy to check."""

from report_worlds import BERT, FP32, INT8, O2, outcome, outcomes_of

from onnxbuild.protocol import Failure
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.store.traces import Trace

MACHINE = {"cpu": "Toy 3000", "architecture": "x86_64", "cores": 3, "flags": ["avx2"]}


def series(p50, **fields):
    numbers = dict.fromkeys(("p90_ms", "p99_ms", "mean_ms", "max_ms"), p50 * 1.25) | {"min_ms": p50 * 0.75}
    return (
        {"n": 7, "p50_ms": p50, "stdev_ms": 0.5, "samples_per_second": 1000 / p50, "contended": False}
        | numbers
        | fields
    )


def result(own, torch, *, batch=1, sequence=37, least=None, compiled=None):
    ratio = torch / own
    engines = {"onnxruntime": series(own), "torch": series(torch)}
    speedup = {"torch": {"median": ratio, "min": least or ratio * 0.9, "max": ratio * 1.1}}
    if compiled is not None:
        engines["torch.compile"] = series(compiled)
        speedup["torch.compile"] = {"median": compiled / own, "min": compiled / own, "max": compiled / own}
    return {"stage": "forward", "batch": batch, "sequence": sequence, "threads": 1, "past": 0} | {
        "engines": engines,
        "speedup": speedup,
    }


def benchmark(name, *results):
    first = results[0]
    own, torch = first["engines"]["onnxruntime"]["p50_ms"], first["engines"]["torch"]["p50_ms"]
    headline = {"p50_ms": own, "baseline_p50_ms": torch, "speedup": torch / own}
    return outcome(f"{name}:benchmark", "hit", key=f"{name}-b", facts={"headline": headline, "results": list(results)})


def validation(name, cosine, bound):
    facts = {
        "metrics": {"cosine_mean": cosine, "max_abs": 0.25},
        "thresholds": {"cosine_mean": bound},
        "samples": {"rows": 46, "tokens": 924, "text": "sentences"},
        "worst_at": {"cosine_mean": "output `logits`, shape 1×37"},
    }
    if cosine >= bound:
        return outcome(f"{name}:validate", "hit", facts={"passed": True} | facts)
    failure = Failure(code="OBE04", message=f"`cosine_mean` is {cosine}, below {bound}", facts=facts)
    return outcome(f"{name}:validate", "failed", failure=failure)


def outcomes():
    return outcomes_of(
        outcome("bert:fetch", "hit", key="f"),
        outcome("bert:export", "hit", key="e", facts={"bytes": 90_400_000}),
        outcome("bert/o2:optimize", "hit", facts={"bytes": 90_300_000}),
        outcome("bert/int8:quantize", "hit", facts={"bytes": 22_800_000}),
        validation(FP32.name, 1.0, 0.9999),
        validation(O2.name, 0.99999, 0.9999),
        validation(INT8.name, 0.65, 0.98),
        benchmark(FP32.name, result(20.0, 30.0, compiled=25.0), result(90.0, 88.0, batch=8, least=0.9)),
        benchmark(O2.name, result(20.4, 30.6)),
        benchmark(INT8.name, result(6.0, 30.0)),
    )


def trace(key):
    packages = {"onnxruntime": "1.31.1"} if key.endswith("-b") else {"torch": "2.13.0"}
    parts = {"packages": packages, "machine": MACHINE if key.endswith("-b") else None}
    return Trace(parts=parts, outputs={}, facts={}, seconds=61.5, worker="")


def evidence(source="toy.yaml"):
    return gather(BERT, outcomes(), trace, source=source, ended=1_800_000_000.0)
