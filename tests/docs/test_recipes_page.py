"""docs/reference/javascript-recipes.md is what its benchmark has kept, of the recipes that `convert-js` writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_recipes_in_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import recipes_page

    results = json.loads(recipes_page.RESULTS.read_text(encoding="utf-8"))
    assert recipes_page.PAGE.read_text(encoding="utf-8") == recipes_page.page(results)
    assert results.keys() == recipes_page.MODELS.keys()
    for name, found in results.items():
        assert found["recipes"] == recipes_page.recipes(), f"measure {name} again"
        assert all(found["rows"][dtype].keys() >= {"ours", "theirs"} for dtype in recipes_page.DTYPES), name
    sys.modules.pop("recipes_page")
