"""A model under its names, and its replacement while requests go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from onnxbuild.serve.limits_of_server import ServedFolder, ServerOptions
from onnxbuild.serve.running.checked_folder import check_files, version_of
from onnxbuild.serve.running.crew_of_model import Counted, Crew
from onnxbuild.serve.unusable_folder import UnusableFolderError

_LOG = logging.getLogger("onnxbuild.serve")
_ATTEMPTS = 5


class ServedModel:
    """The crew that has the requests now; another one takes over when a build has rewritten the folder."""

    def __init__(self, served: ServedFolder, options: ServerOptions, counted: Counted) -> None:
        self.names, self.folder = served.names, served.folder
        self._options, self._counted = options, counted
        self._version: tuple[int, int, int] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self.crew: Crew

    async def open(self) -> None:
        """Start the first crew. Errors: UnusableFolderError."""
        self.crew, self._version = await self._new_crew()

    async def _new_crew(self) -> tuple[Crew, tuple[int, int, int] | None]:
        """A crew of the folder as it is now: of a folder that is replaced meanwhile, files of both may be open."""
        for _ in range(_ATTEMPTS):
            version = version_of(self.folder)
            await asyncio.to_thread(check_files, self.folder)
            crew = Crew(self.folder, self._options.threads, self._options.limits, self._counted)
            await crew.open(self._options.workers)
            if version == version_of(self.folder):
                return crew, version
            await crew.close()
        raise UnusableFolderError(self.folder, "the folder is replaced again and again")

    async def reload_if_new(self) -> bool:
        """Let a new crew take over if a build has replaced the folder; requests of the old one end there."""
        version = version_of(self.folder)
        if version is None or version == self._version:
            return False
        try:
            fresh, self._version = await self._new_crew()
        except (UnusableFolderError, OSError) as error:
            self._version = version  # looked at again when it changes again
            _LOG.error("%s stays as it was: %s", self.names[0], error)
            return False
        old, self.crew = self.crew, fresh
        task = asyncio.create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        _LOG.info("%s was built again, and the new build is served", self.names[0])
        return True

    async def _retire(self, old: Crew) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(old.drain(), self._options.limits.timeout)
        await old.close()

    async def close(self) -> None:
        """End all processes."""
        for task in self._retiring:
            task.cancel()
        await self.crew.close()


class ServedModels:
    """All models of a server, by each of their names."""

    def __init__(self, models: Sequence[ServedModel], reload: float) -> None:
        self.all, self._reload = tuple(models), reload
        self.by_name = {name: model for model in models for name in model.names}
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open every model, then look for new builds from time to time. Errors: UnusableFolderError."""
        try:
            async with asyncio.TaskGroup() as group:
                for model in self.all:
                    group.create_task(model.open())
        except ExceptionGroup as errors:
            await self.close()
            raise errors.exceptions[0] from None
        if self._reload:
            self._watch = asyncio.create_task(self._watch_folders())

    async def _watch_folders(self) -> None:
        while True:
            await asyncio.sleep(self._reload)
            for model in self.all:
                await model.reload_if_new()

    @property
    def are_ready(self) -> bool:
        """Whether every model has a process that answers."""
        return all(hasattr(model, "crew") and model.crew.pids for model in self.all)

    async def close(self) -> None:
        """End all processes of all models."""
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(model.close() for model in self.all if hasattr(model, "crew")))
