"""compiled: the folders of compiled targets, each with what its backend has written, and the checksums of all files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.kind import Context, Fault, Runtime, all_needs
from onnxbuild.steps.packaging.package_kind import Client, ClientParams, Package, PackageParams, Roles, in_package


class CompiledParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One folder for each compiled target: `compiled.json`, the files of the backend, tokenizer and configs.

    A role is the name of a folder: `targets: {cpu: ov}`. By default, all compiled targets go in, under their names.
    """


class CompiledClientParams(ClientParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which folders the package has, and what runs each of them."""

    DERIVED: ClassVar[tuple[str, ...]] = ("runtimes",)

    runtimes: Annotated[
        Mapping[str, Runtime] | UnsetType, Meta(description="the backend that runs each folder, and what it needs")
    ] = UNSET


def _roles(params: CompiledParams, context: Context) -> Roles:
    if isinstance(params.targets, dict):
        return {role: (target,) for role, target in params.targets.items()}
    compiled = tuple(name for name, one in context.targets.items() if one.backend)
    return {name: (name,) for name in params.targets or compiled}


def _check(params: CompiledParams, context: Context) -> Iterator[Fault]:
    """OB762 for targets that are not compiled, OB765 for a folder without a name."""
    if not params.graphs:
        message = "the package `compiled` takes compiled targets, and the model has none"
        yield Fault(code="OB762", message=message, hint="use `package: plain`, or add a target with `compile:`")
    if "" in params.graphs:
        message = "a role of the package `compiled` is the name of a folder, and cannot be empty"
        yield Fault(
            code="OB765", field="targets", message=message, hint=f'write `{params.graphs[""]}` in place of `""`'
        )
    for name in params.graphs.values():
        if name in context.targets and not context.targets[name].backend:
            message = f"the package `compiled` takes compiled targets, and `{name}` is not compiled"
            hint = f"leave it out: {in_package('compiled', listed=context.listed)}; or use `package: plain`"
            yield Fault(code="OB762", field="targets", message=message, hint=hint)


def _client(params: CompiledParams, context: Context) -> CompiledClientParams:
    facts = {role: context.targets[name] for role, name in params.graphs.items()}
    runtimes = {role: Runtime(backend=one.backend, needs=one.needs) for role, one in facts.items()}
    return CompiledClientParams(
        task=params.task, graphs=params.graphs, trust_remote_code=params.trust_remote_code, runtimes=runtimes
    )


def _client_packages(params: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(need for one in (params.runtimes or {}).values() for need in all_needs(one)))


COMPILED = Package(
    name="compiled",
    summary="the folders of compiled targets, as their runtimes load them, with checksums",
    version=2,
    params=CompiledParams,
    worker="onnxbuild.workers.package.compiled_folder:run",
    roles=_roles,
    check=_check,
    takes_compiled=True,
    pure=True,
    client=Client(
        worker="onnxbuild.workers.package.compiled_client:run",
        packages=_client_packages,
        params=CompiledClientParams,
        settle=_client,
    ),
)
