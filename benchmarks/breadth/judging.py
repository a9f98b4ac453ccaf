"""What a comparison means: the bounds of each variant, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# The largest difference of any element from PyTorch, relative to the largest value of that output (fp32, O2).
WORST = {"fp32": 1e-3, "o2": 1e-3}
# The root mean square of the differences, relative to that of PyTorch's values, for weights of 8 and 4 bits.
# Measured on BERT and GPT-2: 0.019 to 0.026 with 8 bits, 0.13 to 0.17 with 4. One doubled matrix of BERT gives 0.16.
RMS = {"int8": 0.1, "q4": 0.4}
# The same, where that bound is missed, from PyTorch that computes with the graph's own rounded weights. A network that
# amplifies rounding stays within it. It is the median over rows and steps: a score that is nearly a tie sends some rows
# to other experts or groups, and a damaged graph changes every row.
ROUNDED_RMS = 0.1
TRIES = 8  # of PyTorch, with weights that are moved by a millionth

VERDICTS = ("right", "refused", "wrong", "not compared", "no checkpoint")


class Verdict(NamedTuple):
    """One of `VERDICTS`, the code of a refusal, and what was seen."""

    word: str
    code: str = ""
    message: str = ""


def judged(variant: str, answer: Mapping[str, Any]) -> Verdict:
    """The verdict on a delivered variant."""
    if "unjudged" in answer:
        return Verdict("not compared", message=answer["unjudged"])
    if "error" in answer:
        return Verdict("wrong", message=answer["error"])
    if "foreign" in answer:
        return Verdict("wrong", message=answer["foreign"])
    name, bound = ("worst", WORST[variant]) if variant in WORST else ("rms", RMS[variant])
    loader = answer.get("loader", "")
    measured = f"{name} {answer[name]:.2g} at {answer['where']}"
    if rounded := answer.get("rounded"):
        name, answer, bound = "typical", rounded, ROUNDED_RMS
        measured += f"; {rounded[name]:.2g} from PyTorch with the same rounded weights"
    if not answer[name] <= bound:
        return Verdict("wrong", message=measured)
    if "other tokens" in loader and variant in WORST:
        return Verdict("wrong", message=f"{measured}; {loader}")
    return Verdict("right", message="; ".join(text for text in (measured, loader) if text and "other" not in text))


# Shares of the lists that must be right with fp32. The lists have grown since these were set: the shares count.
LEAST_SHARES = {"optimum": 150 / 161, "transformers": 75 / 84}


def missed_bounds(rows: list[Mapping[str, Any]], totals: Mapping[str, int]) -> list[str]:
    """The bounds that the results miss, each in words."""
    missed = [f"{row['exporter']} {row['type']} {row['variant']} is wrong: {row['message']}"
              for row in rows if row["verdict"] == "wrong"]  # fmt: skip
    missed += [f"{row['exporter']} {row['type']} {row['variant']} fails with OBE99: {row['message']}"
               for row in rows if row["code"] == "OBE99"]  # fmt: skip
    for exporter, total in totals.items():
        right = sum(
            row["verdict"] == "right" for row in rows if (row["exporter"], row["variant"]) == (exporter, "fp32")
        )
        if right < LEAST_SHARES[exporter] * total:
            missed.append(f"{exporter}: {right} of {total} types are right, at least "
                          f"{LEAST_SHARES[exporter]:.1%} expected")  # fmt: skip
    return missed
