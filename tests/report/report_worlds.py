"""Small graphs and outcomes that the report's tests share."""

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, OutputRef, Variant


def action(name: str, *needs: str, source: str | None = None) -> Action:
    inputs = {("model" if n == 0 else f"in{n}"): OutputRef(need, "model") for n, need in enumerate(needs)}
    if source:
        inputs["files"] = FilesSource(source, ("weights.bin",))
    return Action(id=name, kind=name.rpartition(":")[2], params={}, inputs=inputs)


def graph_of(*actions: Action, variants: tuple[Variant, ...] = ()) -> ActionGraph:
    return ActionGraph({a.id: a for a in actions}, variants)


def outcome(name: str, how: str, **fields) -> Outcome:
    return Outcome(id=name, kind=name.rpartition(":")[2], outcome=how, **fields)


def outcomes_of(*outcomes: Outcome) -> dict[str, Outcome]:
    return {o.id: o for o in outcomes}


def variant(target: str, *steps: str, precision: str = "fp32") -> Variant:
    name = f"bert/{target}"
    return Variant(
        model="bert",
        target=target,
        output=OutputRef(steps[-1], "model"),
        precision=precision,
        steps=steps,
        checks=(f"{name}:validate",),
        measures=(f"{name}:benchmark", f"{name}:generate"),
    )


# bert as fp32, optimized, and quantized after that: each stage is a separate variant.
FETCH, EXPORT, OPTIMIZE, QUANTIZE = "bert:fetch", "bert:export", "bert/o2:optimize", "bert/int8:quantize"
FP32 = variant("fp32", FETCH, EXPORT)
O2 = variant("o2", FETCH, EXPORT, OPTIMIZE)
INT8 = variant("int8", FETCH, EXPORT, OPTIMIZE, QUANTIZE, precision="int8")
BERT = graph_of(
    action(FETCH, source="/models/bert"),
    action(EXPORT, FETCH),
    action(OPTIMIZE, EXPORT),
    action(QUANTIZE, OPTIMIZE),
    *(action(f"{v.name}:validate", v.output.action) for v in (FP32, O2, INT8)),
    *(action(f"{v.name}:benchmark", v.output.action) for v in (FP32, O2, INT8)),
    variants=(FP32, O2, INT8),
)
