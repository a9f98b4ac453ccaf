"""The params of the step kinds: each described where it is declared, and short forms that equal the long ones."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from onnxbuild.steps import KINDS
from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.kind import Params, spelled_out
from onnxbuild.steps.optimize import OptimizeParams
from onnxbuild.steps.quantize import ModuleParams, QuantizeParams

STRUCTS = (*(kind.params for kind in KINDS.values()), ModuleParams, Rows)


def fields() -> Iterator[tuple[str, str]]:
    """Each field with its description."""
    for struct in STRUCTS:
        _, components = msgspec.json.schema_components((struct,))
        for name, schema in components[struct.__name__]["properties"].items():
            yield f"{struct.__name__}.{name}", schema.get("description", "")


@pytest.mark.parametrize(("name", "description"), list(fields()))
def test_every_field_is_described(name: str, description: str) -> None:
    assert description, f"{name} needs `Annotated[…, Meta(description=…)]`"
    assert "\n" not in description
    assert not description.endswith(".")


@pytest.mark.parametrize(
    ("word", "block"),
    [
        ("int8", {"method": "dynamic"}),
        ("q8", {"method": "weight-only", "bits": 8}),
        ("q4", {"method": "weight-only"}),
        ("int4", {"method": "weight-only", "bits": 4}),
    ],
)
def test_a_word_stands_for_a_block(word: str, block: dict[str, object]) -> None:
    short = msgspec.convert(spelled_out(QuantizeParams, word), QuantizeParams)
    assert short == msgspec.convert(block, QuantizeParams)


def test_a_scalar_stands_for_a_field() -> None:
    assert spelled_out(OptimizeParams, "O3") == {"level": "O3"}
    assert spelled_out(OptimizeParams, {"level": "O1"}) == {"level": "O1"}


def test_without_a_short_form_a_scalar_stays_what_it_is() -> None:
    class Plain(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
        """No short form."""

    assert spelled_out(Plain, 7) == 7
