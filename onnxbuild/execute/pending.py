"""Which actions wait for which others, and which are ready to be decided, in the order of the graph."""

from __future__ import annotations

from collections.abc import Collection

from onnxbuild.planning.action_graph import ActionGraph


class Pending:
    """The unfinished needs of every action."""

    def __init__(self, graph: ActionGraph) -> None:
        self._dependents = graph.dependents()
        self._order = {name: position for position, name in enumerate(graph.actions)}
        self._needs = {name: set(action.needs) for name, action in graph.actions.items()}
        self._ready = [name for name, needs in self._needs.items() if not needs]

    def __bool__(self) -> bool:
        """Whether an action is ready."""
        return bool(self._ready)

    def pop(self) -> str:
        """The first action in the order of the graph that is ready."""
        self._ready.sort(key=self._order.__getitem__, reverse=True)
        return self._ready.pop()

    def release(self, name: str, *, finished: Collection[str]) -> None:
        """An action has a result: the actions that waited only for it become ready, except those that have finished."""
        for user in self._dependents[name]:
            if name in self._needs[user]:
                self._needs[user].discard(name)
                if not self._needs[user] and user not in finished:
                    self._ready.append(user)

    def wait_again(self, name: str, *, makers: set[str], restarted: set[str]) -> None:
        """An action waits for its makers once more; those that are `restarted` become ready."""
        self._needs[name] = set(makers)
        for maker in restarted:
            self._ready.append(maker)
            for user in self._dependents[maker]:
                if self._needs[user]:  # it waits for other actions, too, and must not start without this one
                    self._needs[user].add(maker)

    def users_of(self, name: str) -> list[str]:
        """Everything that depends on an action, directly or not, in the order of the graph.

        `ActionGraph.with_dependents` would import networkx for it.
        """
        users: set[str] = set()
        waiting = [name]
        while waiting:
            new = [user for user in self._dependents[waiting.pop()] if user not in users]
            users.update(new)
            waiting += new
        return sorted(users, key=self._order.__getitem__)
