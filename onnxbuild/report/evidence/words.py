"""A build in words: what it has, and where it was measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.figure_tables import verdicts
from onnxbuild.report.wording import counted


def summary(evidence: Evidence) -> str:
    """What was built: `4 variants (4 passed) of 1 model. The last result is from 2026-11-26 15:12.`, for example."""
    models = len({variant.model for variant in evidence.variants})
    when = "" if evidence.ended is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(evidence.ended))
    last = f" The last result is from {when}." if when else " Nothing has been run yet."
    return f"{verdicts(evidence)} of {counted(models, 'model')}.{last}"


def machine_words(machine: Mapping[str, Any]) -> str:
    """`AMD EPYC, x86_64, 2 cores, avx2 avx512f`."""
    words = [str(machine["cpu"]), str(machine["architecture"]), f"{machine['cores']} cores"]
    return ", ".join([*words, " ".join(machine.get("flags") or ()), *(machine.get("gpus") or ())]).rstrip(", ")


def environment(evidence: Evidence) -> list[str]:
    """The machines that measured and the versions of the packages, one per line."""
    machines = [f"measured on {machine_words(machine)}" for machine in evidence.machines]
    packages = [f"{name} {', '.join(versions)}" for name, versions in evidence.packages.items()]
    return [f"onnxbuild {evidence.onnxbuild}", *machines, *packages]
