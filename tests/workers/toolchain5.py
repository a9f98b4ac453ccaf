"""The environment with transformers 5, created once per machine by our own code for toolchains, and its workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import msgspec
import platformdirs
import pytest
from families import text_folder
from kept import kept_between_tests

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.digest import digest_value
from onnxbuild.planning.pinned.resolution import resolve_toolchain
from onnxbuild.planning.toolchains import LockedToolchain
from onnxbuild.protocol import Failure, Request, plain
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.toolchains.locked_environment import Locked
from onnxbuild.steps.fetch import FetchParams

REQUIREMENTS = ("transformers==5.23.0", "torch==2.13.0", "onnxscript==0.7.2", "onnx==1.23.2", "onnxruntime==1.31.1",
                "onnxruntime-genai==0.18.0", "sentencepiece", "sentence-transformers==5.7.0",
                "mobius-onnx==0.1.0")  # fmt: skip


@cache
def environment() -> Locked:
    """Errors: the test fails if the packages cannot be installed, unless the machine states that it has no index."""
    try:
        found = Locked("tf5", _resolved(), kept_between_tests())
        runner = LocalRunner({"tf5": found})
        try:
            found.interpreter(lambda _text: None, runner._run_command)
        finally:
            runner.close()
    except (DiagnosticError, Unusable) as error:
        pytest.fail(f"the toolchain of transformers 5 cannot be made: {error}")
    return found


def _resolved() -> LockedToolchain:
    """What the requirements resolve to: asked once per machine and once a week, because pip takes a minute."""
    name = digest_value([*REQUIREMENTS, sys.version, time.strftime("%G, week %V")])
    path = platformdirs.user_cache_path("onnxbuild-tests-resolved", appauthor=False, ensure_exists=True) / name
    with filelock.FileLock(f"{path}.lock"):
        if not path.exists():
            path.write_bytes(msgspec.json.encode(resolve_toolchain("tf5", REQUIREMENTS)))
        return msgspec.json.decode(path.read_bytes(), type=LockedToolchain)


class Workers:
    """Steps run by worker processes of that environment, or of this one, each in its own folder below `root`."""

    def __init__(
        self, root: Path, toolchain: str = "tf5", runner: LocalRunner | None = None, *, network: bool = False
    ) -> None:
        self._root, self._number, self._toolchain, self._network = root, 0, toolchain, network
        self._runner = runner or LocalRunner({"tf5": environment()} if toolchain == "tf5" else {})

    def run(self, worker: str, params, outputs: str, **inputs: Path):
        """Facts and the output folder, or the failure."""
        self._number += 1
        work = self._root / str(self._number)
        output, scratch = work / outputs, work / "scratch"
        output.mkdir(parents=True)
        scratch.mkdir()
        request = Request(
            id=str(self._number), worker=worker, params=plain(params), outputs={outputs: str(output)},
            inputs={port: str(folder) for port, folder in inputs.items()}, log=str(work / "log.txt"),
            scratch=str(scratch), network=self._network,
        )  # fmt: skip
        response = self._runner.submit(self._toolchain, request, lambda _progress: None).result()
        return (response.failure or response.facts), output

    def close(self) -> None:
        self._runner.close()


def random_checkpoints(workers: Workers, models: Mapping[str, Any]) -> Callable[[str], Path]:
    """Makes each model of a table (task, config, vocabulary) once, and returns its folder."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            task, config, vocabulary = models[name]
            params = FetchParams(
                origin="random", architecture=name, task=task, config=config, tokenizer_vocabulary=vocabulary
            )
            facts, folder = workers.run("onnxbuild.workers.fetch.worker:run", params, "model", text=text_folder())
            assert not isinstance(facts, Failure), facts
            made[name] = folder
        return made[name]

    return make
