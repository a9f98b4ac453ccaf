"""Plans the uploads of packages: after the package and the check with its client, to where the manifest says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct, structs

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import Array
from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.spec import Model
from onnxbuild.planning.action_graph import Action, Input, OutputRef, Packed, PapersSource, Published
from onnxbuild.planning.packages.package_actions import Add, Origin
from onnxbuild.planning.settle import Settler, Step, as_json, block_places
from onnxbuild.publishing.card_license import LICENSE
from onnxbuild.regular_files import check_folder
from onnxbuild.steps import Kinds
from onnxbuild.steps.publish import PublishParams
from onnxbuild.tables.publishing.hub_licenses import HUB_LICENSES, hub_license

_KEY = "publish"
_HUB = "https://huggingface.co"


class Uploads(Struct, frozen=True, kw_only=True):
    """Plans the uploads of one model. `packages`: those that it has; `add` adds an action, `actions` has all so far."""

    origin: Origin
    packages: Sequence[Packed]
    kinds: Kinds
    settler: Settler
    actions: Mapping[str, Action]
    add: Add
    reach: Reach
    faults: list[Diagnostic]

    def planned(self) -> Iterator[Published]:
        """One for each destination that the model names, without those that have a fault."""
        steps = list(_steps(self.origin.model))
        licenses: dict[str, None] = {}
        for step in steps:
            settled = self.settler.settle(step, self.origin.context, unlocked=self.origin.unlocked)
            if settled is None:
                continue
            written = settled.params.license
            licenses.update({hub_license(written) or written: None} if written else {})
            if len(licenses) > 1:  # the package has one card
                first, other = licenses
                message = f"one model has the licenses `{first}` and `{other}` at two destinations"
                hint = f"write `license: {first}` at both, or leave it out at one"
                self.faults.append(fault("OB784", message, span=_at(step, "license"), hint=hint))
                return
            yield from self._planned(step, settled.params, is_only=len(steps) == 1)

    def _planned(self, step: Step, written: PublishParams, *, is_only: bool) -> Iterator[Published]:
        packed = _chosen(written.package or "", self.packages, step)
        params = _filled(written, self.origin, self.actions, step, self.reach)
        self.faults.extend(one for one in (packed, params) if isinstance(one, Diagnostic))
        self.faults.extend(one for one in _odd_license(written, self.origin.model, step) if one not in self.faults)
        if isinstance(packed, Diagnostic) or isinstance(params, Diagnostic):
            return
        params = structs.replace(params, package=UNSET)  # the input says it
        inputs: dict[str, Input] = {"package": packed.variant.output, "papers": PapersSource(packed.variant.name)}
        if packed.client is not None:
            inputs["client"] = OutputRef(packed.client, "report")
        # The card shows how fast the variants are, so it waits for their measurements.
        inside = (one for one in self.origin.variants if one.target in packed.targets)
        measures = tuple(dict.fromkeys(name for one in inside for name in one.measures))
        model = self.origin.model.name
        name = f"{model}:{_KEY}" if is_only else f"{model}:{_KEY}-{params.destination}"
        action = self.add(name, self.kinds[_KEY], as_json(params), inputs, step.key_at, measures)
        yield Published(model=model, package=packed.name, place=params.shown, action=action)


def _steps(model: Model) -> Iterator[Step]:
    """One for each destination: a block, or each block of a list."""
    block = model.block
    written = block.get(_KEY)
    if isinstance(written, Array):
        yield from (Step(_KEY, one, at, at) for one, at in zip(written, written.items_at, strict=True))
    elif written:
        yield Step(_KEY, written, *block_places(block, _KEY, model.span))


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
        hint = did_you_mean(name, names) or f"the model has {', '.join(f'`{one}`' for one in names)}"
        return fault("OB783", f"the model has no package `{name}`", span=_at(step, "package"), hint=hint)
    return found


def _filled(
    params: PublishParams, origin: Origin, actions: Mapping[str, Action], step: Step, reach: Reach
) -> PublishParams | Diagnostic:
    """The params with what the model and the environment say, or what is wrong with them."""
    if params.folder:
        place = os.path.join(reach.folder, params.folder)
        problem = reach.problem(params.folder, place, _at(step, "folder"))
        try:
            check_folder(Path(os.path.realpath(place)))
        except OSError as error:
            message = f"`{params.folder}` cannot be a folder: {error.strerror}"
            problem = problem or fault("OB781", message, span=_at(step, "folder"), hint="name a folder")
        return problem or structs.replace(params, folder=os.path.realpath(place))
    if not params.hub:
        return params
    source = next(iter(origin.stated.values()), None)
    license_name = params.license or (source.license if source is not None else None) or ""
    license_name = hub_license(license_name) or license_name
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


def _odd_license(params: PublishParams, model: Model, step: Step) -> Iterator[Diagnostic]:
    """A warning about a license that somebody has written and that may be misspelt, at the publish or at the model."""
    text, at = (params.license, _at(step, "license")) if params.license else (model.block.get("license"), None)
    if not text or not LICENSE.fullmatch(text) or hub_license(text) is not None:
        return
    message = f"the license `{text}` is not in the list of the Hub"
    hint = did_you_mean(text.lower(), HUB_LICENSES) or "write `other` for a license without a word there"
    yield fault("OB781", message, span=at or model.block.value_span("license"), hint=hint, severity="warning")


def _at(step: Step, field: str) -> Span:
    return step.block.value_span(field) if hasattr(step.block, "value_span") and field in step.block else step.value_at
