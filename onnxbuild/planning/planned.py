"""The plan of a command: the selected part of a manifest's graph, and the files that it depends on."""

from __future__ import annotations

from msgspec import Struct

from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.steps import Places


class Plan(Struct, frozen=True, kw_only=True):
    """The result of planning: a pure function of what it has `watched`, the command line and the installed packages."""

    manifest: Manifest
    graph: ActionGraph  # the selected actions, with all that they need
    named: frozenset[str]  # the selected actions
    delivers: frozenset[str]  # the variants and packages whose folders are written: those that the selectors name
    whole: ActionGraph
    watched: tuple[str, ...]  # files and folders that planning looked at
    variables: tuple[str, ...] = ()  # of the environment that planning looked at, besides those that the manifest names
    plugins: Places  # of the kinds that plugins declare

    @property
    def delivered(self) -> tuple[Variant, ...]:
        """The variants and packages whose folders are written."""
        return tuple(one for one in self.graph.delivered if one.name in self.delivers)

    @property
    def described(self) -> tuple[Variant, ...]:
        """The variants and packages whose results decide what is in the delivered folders.

        These are also the variants inside a package, which its card shows, and all among which one is chosen that gets
        further measures.
        """
        packages = [one for one in self.graph.packages if one.variant.name in self.delivers]
        names = {one.name for one in self.delivered}
        names |= {f"{one.variant.model}/{target}" for one in packages for target in one.targets}
        tuned = {one.model for one in self.whole.variants if one.name in names and one.if_best}
        variants = (one for one in self.whole.variants if one.name in names or one.model in tuned)
        return (*variants, *(one.variant for one in packages))
