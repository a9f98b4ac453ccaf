"""Plans the upload of a package: after the package and the check with its client, to where the manifest says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, structs

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.reach import Reach
from onnxbuild.planning.action_graph import Action, Input, OutputRef, Packed, PapersSource, Published
from onnxbuild.planning.packages.package_actions import Add, Origin
from onnxbuild.planning.settle import Settler, Step, as_json, block_places
from onnxbuild.steps import Kinds
from onnxbuild.steps.publish import PublishParams

_KEY = "publish"
_HUB = "https://huggingface.co"


def published_of(
    origin: Origin,
    packages: Sequence[Packed],
    kinds: Kinds,
    settler: Settler,
    actions: Mapping[str, Action],
    add: Add,
    reach: Reach,
    faults: list[Diagnostic],
) -> Published | None:
    """The upload that a model asks for; None without one, or after a fault."""
    block = origin.model.block
    if not block.get(_KEY):
        return None
    step = Step(_KEY, block[_KEY], *block_places(block, _KEY, origin.model.span))
    settled = settler.settle(step, origin.context, unlocked=origin.unlocked)
    if settled is None:
        return None
    packed = _chosen(settled.params.package or "", packages, step)
    params = _filled(settled.params, origin, actions, step, reach)
    problems = [one for one in (packed, params) if isinstance(one, Diagnostic)]
    faults += problems
    if isinstance(packed, Diagnostic) or isinstance(params, Diagnostic):
        return None
    params = structs.replace(params, package=UNSET)  # the input says it
    inputs: dict[str, Input] = {"package": packed.variant.output, "papers": PapersSource(packed.variant.name)}
    if packed.client is not None:
        inputs["client"] = OutputRef(packed.client, "report")
    # The card shows how fast the variants are, so it waits for their measurements.
    measures = dict.fromkeys(name for one in origin.variants if one.target in packed.targets for name in one.measures)
    action = add(f"{origin.model.name}:{_KEY}", kinds[_KEY], as_json(params), inputs, step.key_at, tuple(measures))
    return Published(model=origin.model.name, package=packed.name, place=params.shown, action=action)


def _chosen(name: str, packages: Sequence[Packed], step: Step) -> Packed | Diagnostic:
    """The package to upload: the one that is named, or the only one."""
    names = [one.name for one in packages]
    if not names:
        hint = "add `package: plain` to the model, or another package"
        return fault("OB783", "there is no package to publish", span=step.key_at, hint=hint)
    if not name and len(names) > 1:
        listed = ", ".join(f"`{one}`" for one in names)
        hint = f"write `package:` in `publish:`, one of {listed}"
        return fault("OB783", "the model has several packages to publish", span=step.key_at, hint=hint)
    found = next((one for one in packages if one.name == (name or names[0])), None)
    if found is None:
        hint = did_you_mean(name, names) or f"the model has {', '.join(names)}"
        return fault("OB783", f"the model has no package `{name}`", span=_at(step, "package"), hint=hint)
    return found


def _filled(
    params: PublishParams, origin: Origin, actions: Mapping[str, Action], step: Step, reach: Reach
) -> PublishParams | Diagnostic:
    """The params with what the model and the environment say, or what is wrong with them."""
    if params.folder:
        place = os.path.join(reach.folder, params.folder)
        problem = reach.problem(params.folder, place, _at(step, "folder"))
        return problem or structs.replace(params, folder=os.path.realpath(place))
    if not params.hub:
        return params
    source = next(iter(origin.stated.values()), None)
    license_name = params.license or (source.license if source is not None else None) or ""
    if not license_name and not origin.unlocked:
        message = "the license of the source is unknown, and the Hub shows one for every model"
        hint = "write `license:` in `publish:`, for example `license: apache-2.0`"
        return fault("OB784", message, span=step.key_at, hint=hint)
    repo = actions[origin.fetch.action].params.get("repo") if source and source.scheme == "hub" else None
    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    if "@" in endpoint:  # it would be in the key, in the store and in the receipt
        message = "the address in HF_ENDPOINT has a user or a password"
        return fault("OB781", message, span=step.key_at, hint="leave them out, and set HF_TOKEN")
    address: Any = UNSET if endpoint == _HUB else endpoint
    return structs.replace(params, license=license_name, base_model=repo or UNSET, endpoint=address)


def _at(step: Step, field: str) -> Span:
    return step.block.value_span(field) if hasattr(step.block, "value_span") and field in step.block else step.value_at
