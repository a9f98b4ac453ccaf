"""Which actions of a plan do not compile, because their compiler is absent where they run."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from onnxbuild.commands.workspace import Session
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.sharing.compiled_elsewhere import is_prepared
from onnxbuild.needs.step_needs import ABSENT, first_absent, need_name, why_without_device
from onnxbuild.planning.action_graph import Action


def only_prepared(session: Session, outcomes: Mapping[str, Outcome]) -> Mapping[str, str]:
    """A remark, by action, for each one that only prepares, or that has only prepared."""
    actions = [one for one in session.graph.actions.values() if session.kinds[one.kind].backend]
    remarks = {one.id: _remark(session, one, outcomes[one.id]) for one in actions if one.id in outcomes}
    return {name: remark for name, remark in remarks.items() if remark}


def _remark(session: Session, action: Action, outcome: Outcome) -> str:
    if outcome.outcome == "hit":
        return f"only prepared: needs {outcome.facts.get('needs')}" if is_prepared(outcome.facts) else ""
    absent = _absent(session, action) if outcome.outcome == "run" else None
    return "" if absent is None else f"will only be prepared: {absent}"


def _absent(session: Session, action: Action) -> str | None:
    """What its compiler lacks, in words."""
    kind = session.kinds[action.kind]
    needs = kind.compiler(msgspec.convert(action.params, kind.params))
    versions = session.runner.packages(action.toolchain, needs)
    absent = first_absent(needs, lambda name: None if versions.get(name, ABSENT) == ABSENT else versions[name])
    if absent is None:
        return None
    return why_without_device(absent) or f"`{need_name(absent)}` is missing"
