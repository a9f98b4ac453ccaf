"""The parts of an action's key, taken from the graph, the digests of files, and the place where the action will run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from onnxbuild.digest import Digest, digest_value
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.key import KeyParts
from onnxbuild.machine import Machine, this_machine
from onnxbuild.needs.step_needs import of_key
from onnxbuild.planning.action_graph import Action, FilesSource, Input, OutputRef, PapersSource
from onnxbuild.runners.runner import Runner
from onnxbuild.steps import Kinds
from onnxbuild.steps.kind import needed_together, packages_of
from onnxbuild.store.content import Tree
from onnxbuild.store.store import Store

# The memory of a worker before it reads a model (measured: 0.7 GB with torch, transformers and optimum loaded).
_FRAMEWORK_BYTES = 1 << 30


# Gives an action the inputs that depend on the outcomes of those that it needs.
Complete = Callable[[Action, Mapping[str, Outcome]], Action]


def as_planned(action: Action, _outcomes: Mapping[str, Outcome]) -> Action:
    """The action itself: its inputs are all in the plan."""
    return action


class Assessor:
    """Computes key parts; keeps what is the same for many actions of a run (the machine)."""

    def __init__(self, kinds: Kinds, store: Store, runner: Runner) -> None:
        self._kinds, self._store, self._runner = kinds, store, runner
        self._machine: Machine | None = None

    def parts(self, action: Action, outputs: Mapping[str, Mapping[str, Digest]]) -> KeyParts:
        """The key parts of an action. `outputs`: the digests of finished outputs, by action and port.

        Errors: OSError for an input from outside that cannot be read.
        """
        return self.parts_with(action, {port: self.digest(ref, outputs) for port, ref in action.inputs.items()})

    def parts_with(self, action: Action, inputs: Mapping[str, Digest]) -> KeyParts:
        """The key parts of an action with the given digests of its inputs."""
        kind = self._kinds[action.kind]
        params = msgspec.convert(action.params, kind.params)
        names = packages_of(kind, params)
        return KeyParts(
            kind=action.kind,
            version=kind.version,
            params=action.params,
            inputs=inputs,
            packages=of_key(self._runner.packages(action.toolchain, names), needed_together(kind, params)),
            toolchain=self._runner.identity(action.toolchain) if names else {},
            machine=self._this_machine() if kind.measures else None,
        )

    def digest(self, source: Input, outputs: Mapping[str, Mapping[str, Digest]]) -> Digest:
        """The digest of one input. Errors: OSError; KeyError if the action that makes it has not finished."""
        if isinstance(source, OutputRef):
            return outputs[source.action][source.port]
        if isinstance(source, FilesSource):
            return self.tree(source).digest
        return digest_value(source if isinstance(source, PapersSource) else source.rows)

    def tree(self, source: FilesSource) -> Tree:
        """The files of a source as they are now."""
        return self._store.digest_files(source.root, source.files)

    def input_bytes(self, action: Action, outputs: Mapping[str, Mapping[str, Digest]]) -> int:
        """The size of all inputs of an action. Errors: OSError and KeyError, as `digest`."""
        total = 0
        for source in action.inputs.values():
            if isinstance(source, OutputRef):
                total += self._store.tree(outputs[source.action][source.port]).size
            elif isinstance(source, FilesSource):
                total += self.tree(source).size
        return total

    def memory_estimate(self, action: Action, outputs: Mapping[str, Mapping[str, Digest]]) -> int:
        """An estimate of the memory in bytes that an action needs: its frameworks, and a multiple of its inputs."""
        factor = self._kinds[action.kind].memory_factor
        return _FRAMEWORK_BYTES + int(factor * self.input_bytes(action, outputs))

    def _this_machine(self) -> Machine:
        self._machine = self._machine or this_machine()
        return self._machine
