"""Codes of `publish:`. Planning finds them; the pages are here."""

from __future__ import annotations

import os
from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.manifest import reach
from onnxbuild.permissions import is_below
from onnxbuild.planning.action_graph import Published
from onnxbuild.rules.rule import Rule, World, described, rule
from onnxbuild.rules.sources.read_paths import reader_of

_FOLDER, _HUB, _OCI = "folder:", "hub:", "oci:"


@rule("OB786", "taken-destination")
def taken_destination(world: World) -> Iterator[Diagnostic]:
    """Two uploads go to one place or one into the other, or one goes to a folder that belongs to something else.

    Why: the files of one replace those of the other, and the run says that both are published. An upload to a folder
    with a source, a dataset or another input of the manifest may replace it.
    Fix: give each upload a destination of its own, which is not in `out/`, `.onnxbuild/`, the store or `.git/`, does
    not hold what the manifest reads, and is not in the folder of a source.
    Bad:
        a: {package: plain, publish: {folder: site}}
        b: {package: plain, publish: {folder: site}}
    Good:
        a: {package: plain, publish: {folder: site/a}}
        b: {package: plain, publish: {folder: site/b}}
    """
    graph = world.expansion.graph
    earlier: dict[str, Published] = {}
    for upload in graph.uploads:
        at = graph.actions[upload.action].span
        owned = _owner(world, upload.place)
        if owned is not None:
            hint = "name a folder that is only for this model, such as `site/MODEL`"
            yield fault("OB786", f"`{upload.model}` is published to {owned}", span=at, hint=hint)
            continue
        place = _canonical(upload.place)
        other = next((one for one in earlier if _overlap(one, place)), None)
        if other is None:
            earlier[place] = upload
        else:
            message = _both(earlier[other], upload, is_same=other == place)
            yield fault("OB786", message, span=at, hint="give each upload a destination of its own")


def _canonical(place: str) -> str:
    """A destination in the one spelling that stands for it: the Hub ignores case, and a tag is `latest` by default."""
    if place.startswith(_HUB):
        return place.casefold()
    if place.startswith(_OCI):
        host, slash, image = place.removeprefix(_OCI).partition("/")
        return f"{_OCI}{host.lower()}{slash}{image if ':' in image else f'{image}:latest'}"
    return place.rstrip("/")


def _overlap(one: str, other: str) -> bool:
    """Whether two places are one, or files of one are below the other."""
    if one == other:
        return True
    nests = not one.startswith((_HUB, _OCI))
    return nests and (one.startswith(f"{other}/") or other.startswith(f"{one}/"))


def _both(first: Published, second: Published, *, is_same: bool) -> str:
    if not is_same:
        return f"`{second.place}` and `{first.place}`, to which `{first.model}` is published, are one in the other"
    if first.model == second.model:
        return f"`{second.model}` is published to `{second.place}` twice"
    return f"`{first.model}` and `{second.model}` are both published to `{second.place}`"


def _owner(world: World, place: str) -> str | None:
    """What owns the folder of an upload; None if nothing does."""
    if not place.startswith(_FOLDER):
        return None
    folder = place.removeprefix(_FOLDER)
    home = os.path.realpath(os.path.dirname(os.path.abspath(world.manifest.path)))
    out = os.path.realpath(world.out or os.path.join(home, "out"))
    if is_below(home, folder):
        return "the folder of the manifest, or to one above it"
    if is_below(folder, out) or is_below(out, folder):
        return "the folder of the outputs, which each run restores"
    if is_below(folder, os.path.join(home, ".onnxbuild")) or is_below(folder, _store(world)):
        return "a folder that onnxbuild keeps its results in"
    if reach.is_of_version_control(os.path.relpath(folder, home)):
        return "a folder of version control"
    return reader_of(world, folder)


def _store(world: World) -> str:
    return os.path.realpath(reach.own_store(world.manifest.path, world.manifest.store.path or ".onnxbuild"))


RULES: tuple[Rule, ...] = (
    described(
        "OB780",
        "one-destination",
        """
        A block of `publish:` names no destination, or several.

        Why: one upload has one receipt, which says what is there.
        Fix: name one of `hub`, `folder`, `s3` and `oci`; for several destinations, write a list of blocks.
        Bad:
            publish: {hub: me/sst2-onnx, folder: site/sst2}
        Good:
            publish: [{hub: me/sst2-onnx}, {folder: site/sst2}]
        """,
    ),
    described(
        "OB781",
        "malformed-destination",
        """
        A destination or a tag does not have its form, a license may be misspelt, or HF_ENDPOINT has a password.

        Why: the server would refuse it after the build. A license that is not in the list of the Hub is a warning, at
        every destination: its word is in the card and in `onnxbuild.json`.
        Bad:
            publish: {hub: sst2-onnx}
        Good:
            publish: {hub: me/sst2-onnx}
        """,
    ),
    described(
        "OB782",
        "setting-of-the-hub",
        """
        A setting of the Hub stands beside another destination, where it has no effect.

        Why: somebody may believe that the upload is private, or a pull request.
        Fix: remove the setting, or publish to `hub`.
        """,
        severity="warning",
    ),
    described(
        "OB783",
        "package-to-publish",
        """
        It is not clear which package is published: the model has none of this name, none at all, or several.

        Why: what is published is one folder for one kind of client.
        Fix: give the model a `package:`, and name it in `publish:` if there are several.
        Bad:
            publish: me/sst2-onnx
        Good:
            package: plain
            publish: me/sst2-onnx
        """,
    ),
    described(
        "OB784",
        "unknown-license",
        """
        A model is published to the Hub, and the license of its source is unknown, or its destinations name two.

        Why: whoever publishes a model that is made from another one must keep its license, and the Hub shows one.
        Fix: write the license of the source, as its page on the Hub has it.
        Bad:
            publish: me/sst2-onnx
        Good:
            publish: {hub: me/sst2-onnx, license: apache-2.0}
        """,
    ),
    described(
        "OB785",
        "upload-offline",
        """
        A run with `--offline` is asked to upload something over the network.

        Why: the two contradict each other.
        Fix: leave out `--offline`, or do not ask for the upload.
        """,
    ),
    described(
        "OB787",
        "nothing-to-publish",
        """
        A run with `--publish` or `--check-published` has nothing to publish.

        Why: the run would succeed, and somebody would believe that the model is on the Hub.
        Fix: add `publish:` to the model, or select a model that has it.
        """,
    ),
    taken_destination,
)  # fmt: skip
