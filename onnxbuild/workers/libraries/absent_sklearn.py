"""Hides scikit-learn from transformers, which imports it for one threshold of assisted generation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def sklearn_hidden() -> Iterator[None]:
    """Let what is imported meanwhile find no scikit-learn, and transformers remember that there is none.

    The import of scikit-learn, scipy.stats and what they import takes as long as that of torch. sentence-transformers
    needs them and imports them afterwards.
    """
    if "sklearn" in sys.modules:
        yield
        return
    hidden: dict[str, Any] = sys.modules  # None in the place of a module means that there is no such module
    hidden["sklearn"] = None
    try:
        yield
        if "transformers" in sys.modules:
            from transformers.utils.import_utils import is_sklearn_available

            is_sklearn_available()  # transformers 5 looks once, when it is asked first
    finally:
        del sys.modules["sklearn"]
