"""What the packages of model servers share: the names of models in a repository, and their version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.packaging.package_kind import PackageParams, Roles

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_IN_WORDS = "expected up to 100 letters, digits, `.`, `_` and `-`, the first a letter or a digit"


class RepositoryParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the params of a repository of models, in which a role is the name of a model."""

    name: Annotated[
        str,
        Meta(
            pattern=_NAME,
            extra_json_schema={"patternErrorMessage": _IN_WORDS},
            description="the name of the first target's model; those of further targets end in the target's name",
        ),
    ] = "model"
    version: Annotated[int, Meta(ge=1, description="the version, which is the name of the folder of the graph")] = 1


def repository_roles(params: RepositoryParams, context: Context) -> Roles:
    """The model of each target: as written, or `NAME` for the first and `NAME-TARGET` for the others."""
    if isinstance(params.targets, dict):
        return {role: (target,) for role, target in params.targets.items()}
    names = list(dict.fromkeys(params.targets or context.targets))
    return {params.name if number == 0 else f"{params.name}-{name}": (name,) for number, name in enumerate(names)}


def check_names(params: RepositoryParams) -> Iterator[Fault]:
    """OB765 for a model without a name: a repository has no place for it."""
    if "" in params.graphs:
        message = "a role of a repository is the name of a model, and cannot be empty"
        yield Fault(code="OB765", field="targets", message=message, hint=f'write `{params.name}` in place of `""`')
