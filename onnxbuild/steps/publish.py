"""publish: uploads a package to the Hugging Face Hub, a folder, S3 or a registry of containers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from onnxbuild.publishing.card_license import LICENSE
from onnxbuild.steps.kind import Context, Fault, Kind, Params

RECEIPT = "published.json"  # what was uploaded, in the output of the step
DESTINATIONS = ("hub", "folder", "s3", "oci")
_REPOSITORY = re.compile(
    r"(?!.*(--|\.\.))(?!.*\.git$)[A-Za-z0-9][\w.-]{0,95}(?<![.-])/[A-Za-z0-9][\w.-]{0,95}(?<![.-])", re.ASCII
)
_BUCKET = re.compile(r"s3://(?![^/]*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.{1,2}(/|$))[^/\s]+)*/?")
_REPOSITORY_OF_IMAGES = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
_TAG_OF_IMAGES = r"(:\w[\w.-]{0,127})?"
# As clients of registries do, a registry is told from the first part of a repository by its dot, its port or its name.
_REGISTRY = r"(localhost|(?=[a-z0-9.-]*[.:])[a-z0-9]+([.-][a-z0-9]+)*)(:\d{1,5})?"
_IMAGE = re.compile(rf"{_REGISTRY}(/{_REPOSITORY_OF_IMAGES})+{_TAG_OF_IMAGES}", re.ASCII)
_WITHOUT_REGISTRY = re.compile(rf"{_REPOSITORY_OF_IMAGES}(/{_REPOSITORY_OF_IMAGES})*{_TAG_OF_IMAGES}", re.ASCII)
_TAG = re.compile(r"(?!main$)(?!.*\.\.)(?!.*\.lock$)[A-Za-z0-9][\w.-]{0,127}(?<!\.)", re.ASCII)
# The form of a text, the form in words, and an example.
_FORMS: Mapping[str, tuple[re.Pattern[str], str, str]] = {
    "hub": (_REPOSITORY, "`owner/name` as the Hub takes it", "me/sst2-onnx"),
    "s3": (_BUCKET, "`s3://bucket/folder`", "s3://models/sst2"),
    "oci": (_IMAGE, "`registry/repository:tag`, in lower case", "ghcr.io/me/sst2-onnx:1.0"),
    "tag": (_TAG, "a tag of letters, digits, `.`, `_` and `-`, other than `main`", "v1.0"),
    "license": (LICENSE, "a license as the Hub writes it", "apache-2.0"),
}


class PublishParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a package of the model is uploaded to. `run` uploads only with `--publish` or `:publish`."""

    SHORT: ClassVar[str | None] = "hub"
    DERIVED: ClassVar[tuple[str, ...]] = ("endpoint", "base_model")

    hub: Annotated[str, Meta(description="repository on the Hugging Face Hub", examples=["me/sst2-onnx"])] = ""
    folder: Annotated[str, Meta(description="folder, relative to this file", examples=["../site/models/sst2"])] = ""
    s3: Annotated[str, Meta(description="folder in a bucket of S3", examples=["s3://models/sst2"])] = ""
    oci: Annotated[
        str, Meta(description="artifact in a registry of containers", examples=["ghcr.io/me/sst2-onnx:1.0"])
    ] = ""
    package: Annotated[
        str | UnsetType,
        Meta(description="the package to upload; by default, the only one of the model", examples=["plain"]),
    ] = UNSET
    private: Annotated[
        bool, Meta(description="whether a repository that does not exist yet is created as a private one")
    ] = True
    pull_request: Annotated[
        Literal["auto"] | bool,
        Meta(description="open a pull request instead of a commit; `auto` does so for repositories of others"),
    ] = "auto"
    tag: Annotated[str | UnsetType, Meta(description="a further tag, beside `onnxbuild-DIGEST`", examples=["v1.0"])] = (
        UNSET
    )
    license: Annotated[
        str, Meta(description="license in the card; by default, the one that the source states", examples=["mit"])
    ] = ""
    overwrite: Annotated[
        bool | UnsetType,
        Meta(description="replace or delete files and publications of others at the destination"),
    ] = UNSET
    unchecked: Annotated[
        bool | UnsetType,
        Meta(description="publish although the client of the package is absent, so it was not checked"),
    ] = UNSET
    base_model: Annotated[str | UnsetType, Meta(description="repository of the source on the Hub, for the card")] = (
        UNSET
    )
    endpoint: Annotated[
        str | UnsetType, Meta(description="address of a Hub other than huggingface.co, from HF_ENDPOINT")
    ] = UNSET

    @property
    def destination(self) -> str:
        """The kind of destination, empty if none is named."""
        return next((name for name in DESTINATIONS if getattr(self, name)), "")

    @property
    def shown(self) -> str:
        """The destination with its kind, for lists: `hub:me/model`."""
        return self.place if self.destination == "s3" else f"{self.destination}:{self.place}"

    @property
    def place(self) -> str:
        """The destination as a person writes it."""
        return getattr(self, self.destination) if self.destination else ""


def _check(params: PublishParams, _context: Context) -> Iterator[Fault]:
    named = [name for name in DESTINATIONS if getattr(params, name)]
    if len(named) != 1:
        found = " and ".join(f"`{name}`" for name in named) or "none of them"
        message = f"`publish:` needs one destination of `hub`, `folder`, `s3` and `oci`, found {found}"
        hint = "for example `publish: {hub: me/sst2-onnx}` or `publish: {folder: site/sst2}`"
        if named:
            hint = "for several destinations, write a list: `publish: [{hub: …}, {folder: …}]`"
        yield Fault(code="OB780", message=message, field=named[1] if named else None, hint=hint)
    for field, (form, words, example) in _FORMS.items():
        text = getattr(params, field)
        if text and not form.fullmatch(text):
            lacks_registry = field == "oci" and _WITHOUT_REGISTRY.fullmatch(text) is not None
            why = ": it names no registry" if lacks_registry else ""
            hint = f"for example `{field}: {f'ghcr.io/{text}' if lacks_registry else example}`"
            yield Fault(code="OB781", message=f"`{text}` is not {words}{why}", field=field, hint=hint)
    for field in ("private", "pull_request", "tag"):
        if params.destination not in {"", "hub"} and getattr(params, field) != _DEFAULTS[field]:
            message = f"`{field}` is for `hub`, and the destination is `{params.destination}`"
            yield Fault(code="OB782", message=message, field=field, severity="warning")


# In the key, so that an upload that was skipped is made once they are installed.
_CLIENTS: Mapping[str, tuple[str, ...]] = {"s3": ("s3fs",), "oci": ("oras",)}
_DEFAULTS: Mapping[str, Any] = {"private": True, "pull_request": "auto", "tag": UNSET}

PUBLISH = Kind(
    name="publish",
    version=2,  # 2: the card with what was measured, `onnxbuild.json` and the signature are uploaded, too
    params=PublishParams,
    inputs={"package": "package"},
    outputs={"receipt": "receipt"},
    worker="onnxbuild.workers.publish.worker:run",
    pure=True,
    network=lambda params: not params.get("folder"),
    memory_factor=0.1,
    packages=lambda params: _CLIENTS.get(params.destination, ()),
    check=_check,
    has_changed=lambda facts: any(facts.get(verb) for verb in ("added", "replaced", "deleted")),
)
