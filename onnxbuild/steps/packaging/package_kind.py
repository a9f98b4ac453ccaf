"""What a package kind declares: the graphs that it takes, the worker that writes it, and the check with its client.

A package becomes two step kinds: `package-NAME` writes the folder, and `client-NAME` opens it with the real client.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, Params, TargetFacts, trusted

PACKAGE = "package-"  # begins the names of the step kinds that write packages
CLIENT = "client-"  # begins the names of the step kinds that check them

# Distributions register packages with `[project.entry-points."onnxbuild.packages"]` and `name = "module:PACKAGE"`.
GROUP = "onnxbuild.packages"

_GRAPH = "graph-"  # begins the name of the input port of a target

# It becomes a part of file names, and must lead nowhere else.
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Roles = Mapping[str, tuple[str, ...]]  # by role: the targets that claim it; more than one is a fault


class PackageParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the params of a package.

    A role is the place of a graph in the package, such as the ending of its file name; the kind defines its roles.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("task", "graphs", "trust_remote_code")
    OF_CLIENT: ClassVar[tuple[str, ...]] = ("client",)  # fields that only the check with the client reads

    targets: Annotated[
        tuple[str, ...] | dict[str, str] | UnsetType,
        Meta(
            description="targets that go into the package: a list, or targets by role; by default, all targets of the"
            " model",
            examples=[["int8"], {"quantized": "int8"}],
        ),
    ] = UNSET
    client: Annotated[
        bool | UnsetType, Meta(description="`false`: do not check the package with its client once it is written")
    ] = UNSET
    task: Annotated[str, Meta(description="the model's task")] = ""
    graphs: Annotated[Mapping[str, str], Meta(description="the target of each role")] = {}


class ClientParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the params of a check with a client: which graphs the package has, and how it is used."""

    task: Annotated[str, Meta(description="the model's task")] = ""
    graphs: Annotated[Mapping[str, str], Meta(description="the target of each role")] = {}


def client_params(params: PackageParams, _context: Context) -> ClientParams:
    """The params of a check that needs nothing but the roles."""
    return ClientParams(task=params.task, graphs=params.graphs, trust_remote_code=params.trust_remote_code)


class Client(Struct, frozen=True, kw_only=True):
    """The check of a package with the program or library that loads it.

    `packages`: what its key contains, as for a step kind, with `PROGRAM` for a program on the PATH. Where something
    that the check cannot do without is absent, its worker returns `skipped("needs node")`. `reads_data_only`: the
    check runs no code of the package, and loads no library that its files name. Then `verify --revalidate` runs it on
    a folder that nobody has signed.
    """

    worker: str  # "module:function"; its input port is `model`, the package
    packages: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    params: type[Params] = ClientParams
    settle: Callable[[Any, Context], Params] = client_params
    version: int = 1
    timeout_seconds: float = 3600.0
    memory_factor: float = 3.0
    reads_data_only: bool = False


class Package(Struct, frozen=True, kw_only=True):
    """A package kind. Its worker gets the checkpoint as `model` and the folder of each target as `graph-TARGET`.

    `role` places a target that is not written with a role. `roles` replaces all of this, for kinds whose params name
    targets in another way. `check` finds what cannot go into the package; `graphs` of the params is already filled in.
    """

    name: str
    summary: str  # one line for the reference
    version: int
    params: type[PackageParams]
    worker: str  # "module:function"
    role: Callable[[str, TargetFacts], str] = lambda name, _target: name
    roles: Callable[[Any, Context], Roles] | None = None
    check: Callable[[Any, Context], Iterable[Fault]] = lambda _params, _context: ()
    resolve: Callable[[Any, Context], Any] = lambda params, _context: params
    packages: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    client: Client | None = None
    takes_compiled: bool = False  # whether `targets` of the context has those that are compiled
    memory_factor: float = 2.0
    pure: bool = False  # as in `Kind`

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The step kind that writes it, and the one that checks it."""
        return (_writer(self), *([_checker(self, self.client)] if self.client is not None else ()))


def graph_port(target: str) -> str:
    """The input port of a target's graphs."""
    return f"{_GRAPH}{target}"


def claimed(package: Package, params: PackageParams, context: Context) -> Roles:
    """The targets that claim each role, in the order in which they are written; none if the model has no target."""
    if not params.targets and not context.targets:
        return {}  # the targets have faults of their own
    if package.roles is not None:
        return package.roles(params, context)
    if isinstance(params.targets, Mapping):
        return {role: (target,) for role, target in params.targets.items()}
    found: dict[str, list[str]] = defaultdict(list)
    for name in params.targets or context.targets:
        found[package.role(name, context.targets[name]) if name in context.targets else name].append(name)
    return {role: tuple(names) for role, names in found.items()}


def first_without_role(params: PackageParams, context: Context) -> Roles:
    """The roles of a package whose first target has none, and whose others have their names."""
    if isinstance(params.targets, dict):
        return {role: (target,) for role, target in params.targets.items()}
    names = list(dict.fromkeys(params.targets or context.targets))
    return {"" if number == 0 else name: (name,) for number, name in enumerate(names)}


def without_client_fields(params: PackageParams) -> Mapping[str, Any]:
    """The params that decide what is in the package. `graphs` says what `targets` has asked for."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(params))
    return {name: value for name, value in plain.items() if name not in {*params.OF_CLIENT, "targets"}}


def _writer(package: Package) -> Kind:
    def resolve(params: PackageParams, context: Context) -> Any:
        graphs = {role: names[0] for role, names in claimed(package, params, context).items()}
        filled = msgspec.structs.replace(
            params, task=context.task or "", graphs=graphs, targets=UNSET, trust_remote_code=_trusted(context)
        )
        return package.resolve(filled, context)

    def check(params: PackageParams, context: Context) -> Iterator[Fault]:
        faults = [
            *_check_any(package, params),
            *_check_compiled(package, params, context),
            *_check_case(package, params, context),
            *_check_roles(package, params, context),
        ]
        yield from faults
        has_targets = bool(params.targets or context.targets)  # else they have faults of their own
        if has_targets and not any(one.severity == "error" for one in faults):
            yield from package.check(resolve(params, context), context)

    def for_client(params: PackageParams, context: Context) -> Params | None:
        return (
            package.client.settle(params, context)
            if package.client is not None and params.client is not False
            else None
        )

    return Kind(
        name=f"{PACKAGE}{package.name}",
        version=package.version,
        params=package.params,
        inputs={"model": "checkpoint"},
        outputs={"package": "package"},
        worker=package.worker,
        packages=package.packages,
        pure=package.pure,
        resolve=resolve,
        check=check,
        memory_factor=package.memory_factor,
        package=package.name,
        takes_compiled=package.takes_compiled,
        client_params=for_client,
    )


def _checker(package: Package, client: Client) -> Kind:
    return Kind(
        name=f"{CLIENT}{package.name}",
        version=client.version,
        params=client.params,
        inputs={"model": "package"},
        outputs={"report": "report"},
        worker=client.worker,
        packages=client.packages,
        pure=package.pure,
        memory_factor=client.memory_factor,
        timeout_seconds=client.timeout_seconds,
        runs_inputs=not client.reads_data_only,
        package=package.name,
    )


def _trusted(context: Context) -> bool | UnsetType:
    return trusted(context) if context.trusts_code else UNSET


def in_package(package: str, targets: str = "…", *, listed: Sequence[str] = ()) -> str:
    """What a hint says to write so that only some targets go in. A bare `targets:` could be that of the model.

    `listed`: the packages of the model where it has names only, as a list or alone. No params can be added to these.
    """
    params = f"{{targets: [{targets}]}}"
    if not listed:
        return f"`{package}: {params}` under `package:`"
    packages = ", ".join(f"{name}: {params if name == package else '{}'}" for name in listed)
    return f"`package: {{{packages}}}`"


def _check_any(package: Package, params: PackageParams) -> Iterator[Fault]:
    """OB760 for an empty `targets:`. A package without a graph would be written, and its client has nothing to load."""
    if params.targets is not UNSET and not params.targets:
        message = f"`targets:` of the package `{package.name}` names no target"
        hint = "name one, or leave out the package's `targets:` for all"
        yield Fault(code="OB760", field="targets", message=message, hint=hint)


def _check_compiled(package: Package, params: PackageParams, context: Context) -> Iterator[Fault]:
    """OB762 for compiled targets in a package of ONNX graphs, and for a package for which no other target is left."""
    hint = "use `package: compiled`, which takes compiled targets"
    named = [name for names in claimed(package, params, context).values() for name in names if name in context.left_out]
    for name in dict.fromkeys(named):
        message = f"the package `{package.name}` has ONNX graphs, and `{name}` is compiled for {context.left_out[name]}"
        yield Fault(code="OB762", field="targets", message=message, hint=hint)
    if params.targets is UNSET and context.left_out and not context.targets:
        message = f"the package `{package.name}` has ONNX graphs, and all targets of the model are compiled"
        yield Fault(code="OB762", message=message, hint=hint)


def _check_case(package: Package, params: PackageParams, context: Context) -> Iterator[Fault]:
    """OB761 for roles that differ only in case: on macOS and Windows, one file would replace the other."""
    first: dict[str, str] = {}
    for role in claimed(package, params, context):
        other = first.setdefault(role.lower(), role)
        if other != role:
            message = f"the roles `{other}` and `{role}` of the package `{package.name}` are one file on some systems"
            yield Fault(code="OB761", field="targets", message=message, hint="give one of them another name")


def _check_roles(package: Package, params: PackageParams, context: Context) -> Iterator[Fault]:
    """OB760 for an unknown target, OB761 for a role that two targets claim, OB764 for a role that is no name."""
    for role, names in claimed(package, params, context).items():
        if role and not _ROLE.fullmatch(role):
            message = f"`{role}` cannot be a role of the package `{package.name}`: it becomes a part of file names"
            hint = "letters, digits, `.`, `_` and `-`, the first a letter or a digit"
            yield Fault(code="OB764", field="targets", message=message, hint=hint)
        for name in names:
            if name not in {*context.targets, *context.left_out}:
                known = ", ".join(f"`{one}`" for one in context.targets)
                hint = did_you_mean(name, context.targets) or f"the model has {known}"
                message = f"the package `{package.name}` names the target `{name}`, which the model does not have"
                yield Fault(code="OB760", field="targets", message=message, hint=hint)
        if len(set(names)) > 1:
            listed = " and ".join(f"`{name}`" for name in names)
            message = f"{listed} would be the same file of the package `{package.name}`{_as(role)}"
            roles = f"`{package.name}: {{targets: {{ROLE: {names[0]}, …}}}}`"
            hint = (
                f"choose one: {in_package(package.name, names[0], listed=context.listed)}; or name the places: {roles}"
            )
            yield Fault(code="OB761", field="targets", message=message, hint=hint)


def _as(role: str) -> str:
    return f", `{role}`" if role else ""
