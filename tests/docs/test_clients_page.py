"""docs/reference/clients.md is what benchmarks/clients.py writes from the results that it kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_kept_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import clients
    import other_clients

    results = json.loads(clients.RESULTS.read_text(encoding="utf-8"))
    assert clients.PAGE.read_text(encoding="utf-8") == clients.page(results)
    assert results.keys() == clients.MODELS.keys()
    others = json.loads(other_clients.RESULTS.read_text(encoding="utf-8"))
    assert {name.partition(":client-")[2] for name in others} == set(other_clients.KINDS)
    for name in ("clients", "other_clients"):
        sys.modules.pop(name)
