"""Slots: which jobs run at the same time, and which wait for cores, for memory, for a GPU, or for the whole machine."""

from __future__ import annotations

from onnxbuild.execute.job import Job


class Slots:
    """The jobs that wait and those that run. `memory_bytes`: the limit for the estimates of all that run together."""

    def __init__(self, count: int, memory_bytes: float) -> None:
        self._count, self._memory_bytes = count, memory_bytes
        self._queued: list[Job] = []
        self._alone: list[Job] = []  # these wait until nothing else is left to run
        self._running: dict[str, Job] = {}

    @property
    def running(self) -> frozenset[str]:
        """The ids of the actions that run."""
        return frozenset(self._running)

    def __bool__(self) -> bool:
        """Whether a job waits or runs."""
        return bool(self._queued or self._alone or self._running)

    def add(self, job: Job) -> None:
        """Let a job wait for a slot."""
        (self._alone if job.runs_alone else self._queued).append(job)

    def next(self) -> Job | None:
        """Remove and return a job that may start now; the caller passes it to `start`, or drops it."""
        first = next((place for place, job in enumerate(self._queued) if not self._waits_for_gpu(job)), None)
        if first is not None and self._has_room_for(self._queued[first]):
            return self._queued.pop(first)
        if self._alone and not self._running and not self._queued:
            return self._alone.pop(0)
        return None

    def start(self, job: Job) -> None:
        """A job runs."""
        self._running[job.action.id] = job

    def end(self, name: str) -> None:
        """The job of an action has ended."""
        self._running.pop(name, None)

    def _waits_for_gpu(self, job: Job) -> bool:
        return job.uses_gpu and any(one.uses_gpu for one in self._running.values())

    def _has_room_for(self, job: Job) -> bool:
        if not self._running:
            return True  # alone, any job may start
        running = self._running.values()
        memory = sum(one.memory_bytes for one in running) + job.memory_bytes
        is_free = len(self._running) < self._count and not any(one.runs_alone for one in running)
        return is_free and memory <= self._memory_bytes
