"""Numbers as a table shows them: sizes, durations, rates, metrics."""

from __future__ import annotations

NONE = "–"  # noqa: RUF001 - the dash for what was not measured
AS_FAST = "≈ 1"  # a ratio whose range over the rounds includes 1
_DECIMALS = ((100, 0), (10, 1))  # three significant digits: more would be noise


def megabytes(size_bytes: int | None) -> str:
    """`22.8 MB`, in millions of bytes."""
    return NONE if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"


def significant(value: float) -> str:
    """Four decimals near one, where the fourth matters; two significant digits for small differences."""
    smallest = 1e-2
    return f"{value:.4f}" if value == 0 or abs(value) >= smallest else f"{value:.1e}"


def beside_bound(value: float, bound: float) -> tuple[str, str]:
    """A value and the bound that it broke, with enough digits to see that: `0.999998` and `1`, not `1.0000`."""
    texts = (significant(value), *(f"{value:.{digits}g}" for digits in range(5, 18)))
    shown = next((text for text in texts if _side(float(text), bound) == _side(value, bound)), repr(value))
    return shown, next((text for text in (f"{bound:g}", repr(bound)) if float(text) == bound), repr(bound))


def _side(value: float, bound: float) -> tuple[bool, bool]:
    return value < bound, value > bound


def milliseconds(value: float | None, *, marked: bool = False) -> str:
    """`6.94 ms`; `marked` adds the asterisk of a note."""
    if value is None:
        return NONE
    decimals = next((digits for least, digits in _DECIMALS if value >= least), 2)
    return f"{value:.{decimals}f} ms" + ("*" if marked else "")


def rate(value: float | None) -> str:
    """`24.0`, per second."""
    return NONE if value is None else f"{value:.1f}"


def times(value: float | None, *, marked: bool = False) -> str:
    """`1.30×`, a ratio; `marked` adds the dagger of a note."""
    return NONE if value is None else f"{value:.2f}×" + ("†" if marked else "")
