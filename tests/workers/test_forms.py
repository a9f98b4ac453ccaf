"""Graphs in the forms that exporters write: every step gives the same numbers as ONNX Runtime gives for the original.

What a step cannot take is a failure that names what can.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

for module in ("onnxruntime", "onnx"):
    pytest.importorskip(module)

from families import run_step, scratch  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.optimize import OptimizeParams  # noqa: E402
from onnxbuild.steps.precision import PrecisionParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.workers.engines.smoke_run import open_for_check  # noqa: E402
from onnxbuild.workers.graphs.graph_files import load_model, save_model  # noqa: E402
from onnxbuild.workers.graphs.plain_form import store_weights  # noqa: E402
from onnxbuild.workers.graphs.products import squeeze_weights  # noqa: E402
from onnxbuild.workers.graphs.walk import graphs_of, nodes_of  # noqa: E402
from onnxbuild.workers.model_folder.counted_steps import CountedSteps  # noqa: E402
from onnxbuild.workers.optimize.worker import run as optimize  # noqa: E402
from onnxbuild.workers.precision.worker import run as precision  # noqa: E402
from onnxbuild.workers.quantize.gptq import quantize_gptq  # noqa: E402
from onnxbuild.workers.quantize.quantized import COMPUTED, FOLDABLE, left_in_float  # noqa: E402
from onnxbuild.workers.quantize.static_ranges import quantize_with_ranges  # noqa: E402
from onnxbuild.workers.quantize.worker import run as quantize  # noqa: E402

pytestmark = pytest.mark.heavy

INNER, OUTER = 64, 96
FLOAT = TensorProto.FLOAT

STEPS = {
    "O1": (optimize, OptimizeParams(level="O1")),
    "int8": (quantize, QuantizeParams(method="dynamic", preset="avx2")),
    "int8 per tensor": (quantize, QuantizeParams(method="dynamic", preset="avx2", per_channel=False)),
    "q4": (quantize, QuantizeParams(method="weight-only", bits=4)),
    "q4 k_quant": (quantize, QuantizeParams(method="weight-only", bits=4, algorithm="k_quant")),
    "q8": (quantize, QuantizeParams(method="weight-only", bits=8)),
    "nf4": (quantize, QuantizeParams(method="weight-only", bits=4, algorithm="nf4")),
    "fp16": (precision, PrecisionParams(dtype="fp16")),
}
# The largest difference, as a share of the largest number: measured, with a factor of 2.
BOUNDS = {"O1": 1e-6, "int8": 0.03, "int8 per tensor": 0.03, "q4": 0.3, "q4 k_quant": 0.3, "q8": 0.03, "nf4": 0.3,
          "fp16": 1e-3}  # fmt: skip
EIGHT = ("O1", "int8", "int8 per tensor", "q8", "fp16")


def stored(name, *shape, dtype=np.float32):
    generator = np.random.default_rng([len(name), *shape])
    return numpy_helper.from_array(generator.standard_normal(shape).astype(dtype), name)


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs, outputs, name=f"n_{outputs[0]}", **attributes)


def build(nodes, weights, *, inputs=(), shape=("n", OUTER), x=("n", INNER), opset=17, ir=8, functions=()):
    graph = helper.make_graph(nodes, "g", [value("x", x), *inputs], [value("y", shape)], weights)
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid("local", 1)] if functions else [])]
    return helper.make_model(graph, ir_version=ir, opset_imports=imports, functions=list(functions))


PRODUCT = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
WEIGHT, BIAS = stored("w", INNER, OUTER), stored("b", OUTER)


def weights_are_inputs(ir, opset):
    return build(PRODUCT, [WEIGHT, BIAS], inputs=[value("w", [INNER, OUTER]), value("b", [OUTER])], ir=ir, opset=opset)


def weights_are_inputs_behind_identity():
    nodes = [node("Identity", ["w"], ["same"]), node("MatMul", ["x", "same"], ["y"])]
    return build(nodes, [WEIGHT], inputs=[value("w", [INNER, OUTER])])


def numbers_without_a_tensor():
    nodes = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Constant", [], ["row"], value_floats=[0.25] * OUTER),
        node("MatMul", ["x", "w"], ["m"]),
        node("Mul", ["m", "half"], ["scaled"]),
        node("Add", ["scaled", "row"], ["y"]),
    ]
    return build(nodes, [WEIGHT])


def a_constant():
    return build([helper.make_node("Constant", [], ["w"], value=WEIGHT), *PRODUCT], [BIAS])


def an_identity_of_a_constant():
    nodes = [helper.make_node("Constant", [], ["c"], value=WEIGHT), node("Identity", ["c"], ["w"]), *PRODUCT]
    return build(nodes, [BIAS])


def an_identity():
    return build([node("Identity", ["held"], ["w"]), *PRODUCT], [stored("held", INNER, OUTER), BIAS])


def a_cast():
    half = stored("half", INNER, OUTER, dtype=np.float16)
    return build([node("Cast", ["half"], ["w"], to=FLOAT), *PRODUCT], [half, BIAS])


def a_gemm_of_a_cast():
    half = stored("half", OUTER, INNER, dtype=np.float16)
    nodes = [node("Cast", ["half"], ["w"], to=FLOAT), node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    return build(nodes, [half, BIAS])


def one_matrix_of_three_axes():
    return build([node("MatMul", ["x", "w"], ["y"])], [stored("w", 1, INNER, OUTER)],
                 x=("k", "n", INNER), shape=("k", "n", OUTER))  # fmt: skip


def several_matrices():
    return build([node("MatMul", ["x", "w"], ["y"])], [stored("w", 3, INNER, OUTER)],
                 x=(3, "n", INNER), shape=(3, "n", OUTER))  # fmt: skip


def local_functions():
    """Two calls of a function that calls another, which has a constant of its own."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    half = [helper.make_node("Constant", [], ["c"], value_float=0.5), helper.make_node("Mul", ["a", "c"], ["o"])]
    scale = helper.make_function("local", "Half", ["a"], ["o"], half, imports)
    body = [helper.make_node("MatMul", ["a", "ww"], ["t"]), helper.make_node("Half", ["t"], ["o"], domain="local")]
    linear = helper.make_function("local", "Linear", ["a", "ww"], ["o"], body, imports)
    nodes = [node("Linear", ["x", "w"], ["h"], domain="local"), node("Linear", ["h", "v"], ["y"], domain="local")]
    return build(nodes, [WEIGHT, stored("v", OUTER, OUTER)], functions=[scale, linear])


def branch(nodes, output, weights=()):
    return helper.make_graph(nodes, "branch", [], [value(output, None)], list(weights))


CHOICE = value("c", [], TensorProto.BOOL)


def branches_read_values_and_weights():
    """Each branch alone reads one value or weight; and the branches have names in common, for other values."""
    then = [helper.make_node("Constant", [], ["k"], value_float=2.0), helper.make_node("Mul", ["m", "k"], ["o"])]
    other = [helper.make_node("Constant", [], ["k"], value_float=3.0), helper.make_node("Mul", ["b", "k"], ["p"]),
             helper.make_node("Add", ["p", "d"], ["o"])]  # fmt: skip
    choose = node("If", ["c"], ["z"], then_branch=branch(then, "o"), else_branch=branch(other, "o"))
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Neg", ["m"], ["d"]), choose, node("MatMul", ["z", "v"], ["y"])]
    return build(nodes, [WEIGHT, BIAS, stored("v", OUTER, OUTER)], inputs=[CHOICE])


def products_in_branches():
    then = branch([node("MatMul", ["x", "w"], ["t"])], "t")
    other = branch([node("MatMul", ["x", "v"], ["e"])], "e")
    choose = node("If", ["c"], ["z"], then_branch=then, else_branch=other)
    return build([choose, node("Relu", ["z"], ["y"])], [WEIGHT, stored("v", INNER, OUTER)], inputs=[CHOICE])


def names_that_converters_add(*endings):
    """Weights of their own under the names that a quantizer or converter gives to the parts and copies of `w`."""

    def make():
        bias = [stored(f"w{ending}", OUTER) for ending in endings]
        nodes = [node("Gemm", ["x", "w", f"w{endings[0]}"], ["m"], transB=1)]
        for number, tensor in enumerate(bias):
            nodes.append(node("Add", [nodes[-1].output[0], tensor.name], [f"m{number}"]))
        nodes.append(node("MatMul", [nodes[-1].output[0], "m_scale"], ["y"]))
        return build(nodes, [stored("w", OUTER, INNER), *bias, stored("m_scale", OUTER, OUTER)])

    return make


def an_identity_of_a_transposed_weight():
    nodes = [node("Transpose", ["turned"], ["t"]), node("Identity", ["t"], ["w"]), *PRODUCT]
    return build(nodes, [stored("turned", OUTER, INNER), BIAS])


def nodes_without_names():
    """One of them multiplies computed values, and stays in float."""
    nodes = [*PRODUCT[:1], helper.make_node("Transpose", ["m"], ["t"]), helper.make_node("MatMul", ["m", "t"], ["s"])]
    nodes.append(helper.make_node("MatMul", ["s", "m"], ["z"]))
    nodes.append(helper.make_node("MatMul", ["z", "v"], ["y"]))
    model = build(nodes, [WEIGHT, stored("v", OUTER, OUTER)])
    for one in model.graph.node:
        one.name = ""
    return model


def one_matrix_of_three_axes_in_a_loop():
    """What is multiplied has an unknown number of axes there, and the opset is older than a Slice with inputs."""
    inner = [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("s", None)]
    nodes = [node("MatMul", ["s", "w"], ["t"]), helper.make_node("Identity", ["go"], ["on"])]
    body = helper.make_graph(nodes, "body", inner, [value("on", [], TensorProto.BOOL), value("t", None)])
    twice = numpy_helper.from_array(np.array(2), "twice")
    loop = node("Loop", ["twice", "", "x"], ["z"], body=body)
    weights = [stored("w", 1, INNER, INNER), twice, stored("v", INNER, OUTER)]
    last = node("MatMul", ["z", "v"], ["y"])
    return build([loop, last], weights, x=("k", "n", INNER), shape=None, opset=9, ir=4)


ADDED = ("_scale", "_zero_point", "_quantized", "_Q4", "_scales", "_zero_points", "_transposed", "_cast_to_fp32")

FORMS = {
    "weights as inputs, IR 3": (lambda: weights_are_inputs(3, 11), STEPS),
    "weights as inputs, IR 8": (lambda: weights_are_inputs(8, 17), STEPS),
    "weights as inputs behind Identity": (weights_are_inputs_behind_identity, STEPS),
    "numbers without a tensor": (numbers_without_a_tensor, STEPS),
    "a constant": (a_constant, STEPS),
    "an identity": (an_identity, STEPS),
    "an identity of a constant": (an_identity_of_a_constant, STEPS),
    "a cast": (a_cast, STEPS),
    "a gemm of a cast": (a_gemm_of_a_cast, STEPS),
    "one matrix of three axes": (one_matrix_of_three_axes, STEPS),
    "several matrices": (several_matrices, EIGHT[:3]),
    "local functions": (local_functions, STEPS),
    "branches": (branches_read_values_and_weights, STEPS),
    "products in branches": (products_in_branches, ("O1", "q4", "q8", "nf4")),
    "names that converters add": (names_that_converters_add(*ADDED), STEPS),
    "names of rewritten weights": (names_that_converters_add("_transposed_scale", "_transposed_quantized"), STEPS),
    "an identity of a transposed weight": (an_identity_of_a_transposed_weight, STEPS),
    "one matrix of three axes in a loop": (one_matrix_of_three_axes_in_a_loop, ("O1", "q4", "q8")),
    "opset 9": (lambda: build(PRODUCT, [WEIGHT, BIAS], opset=9, ir=4), STEPS),
    "opset 12": (lambda: build(PRODUCT, [WEIGHT, BIAS], opset=12, ir=7), STEPS),
}


def feeds_of(session, seed=0):
    """Real numbers for `x`, and each choice of a branch."""
    generator = np.random.default_rng(seed)
    given = {one.name: one for one in session.get_inputs()}
    shape = [axis if isinstance(axis, int) else 5 for axis in given["x"].shape]
    feeds = {"x": generator.standard_normal(shape).astype(np.float32)}
    return [{**feeds, "c": np.array(choice)} for choice in (True, False)] if "c" in given else [feeds]


def differences(before, after):
    """The largest difference between two files, as a share of the largest number."""
    one, other = open_for_check(before), open_for_check(after, optimize=True)
    assert [i.name for i in one.get_inputs()] == [i.name for i in other.get_inputs()]
    for feeds in feeds_of(one):
        wanted, found = one.run(None, feeds)[0], other.run(None, feeds)[0]
        assert wanted.shape == found.shape
        yield float(np.abs(wanted - found).max() / np.abs(wanted).max())


def folder_of(model):
    folder = scratch()
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.mark.parametrize(("form", "step"), [(form, step) for form, (_, steps) in FORMS.items() for step in steps])
def test_a_step_gives_the_numbers_of_the_original(form, step):
    folder = folder_of(FORMS[form][0]())
    run, params = STEPS[step]
    facts, output = run_step(run, params, model=folder)
    assert max(differences(folder / "model.onnx", output / "model.onnx")) < BOUNDS[step]
    file = facts["files"]["model.onnx"]
    if run is quantize:
        products = sum(n.op_type in {"MatMul", "Gemm"} for n in load_model(folder / "model.onnx").graph.node)
        assert sum(file["quantized"].values()) >= max(1, products)
        assert not {FOLDABLE, COMPUTED}.intersection(file["left_in_float"])
    if step == "fp16" and form not in {"a cast", "a gemm of a cast"}:
        assert file["bytes"] < 0.6 * file["bytes_before"]


@pytest.mark.parametrize("step", ["int8", "int8 per tensor", "q4", "q8", "nf4"])
def test_a_node_without_a_name_that_stays_in_float_keeps_no_other_in_float(step):
    facts, _ = run_step(*STEPS[step], model=folder_of(nodes_without_names()))
    assert sum(facts["files"]["model.onnx"]["quantized"].values()) == 2


@pytest.mark.parametrize(
    ("form", "step", "found", "hint"),
    [
        ("several matrices", "q4", "a weight of three axes or more", "`quantize: {method: dynamic}` takes weights"),
        ("several matrices", "nf4", "a weight of three axes or more", "`quantize: {method: dynamic}` takes weights"),
        ("products in branches", "int8", "inside of a branch or a loop", "weight-only, algorithm: rtn}` also reads"),
        ("products in branches", "q4 k_quant", "inside of a branch", "weight-only, algorithm: rtn}` also reads"),
    ],
)
def test_what_a_method_cannot_take_is_a_failure_that_names_one_that_can(form, step, found, hint):
    run, params = STEPS[step]
    with pytest.raises(CheckFailed) as caught:
        run_step(run, params, model=folder_of(FORMS[form][0]()))
    notes = dict(caught.value.failure.notes)
    assert caught.value.failure.code == "OBE48"
    assert found in notes["found"]
    assert hint in notes["hint"]


def test_a_weight_that_is_computed_is_stored_by_o1():
    nodes = [node("Add", ["w", "v"], ["sum"]), node("MatMul", ["x", "sum"], ["y"])]
    folder = folder_of(build(nodes, [WEIGHT, stored("v", INNER, OUTER)]))
    with pytest.raises(CheckFailed) as caught:
        run_step(*STEPS["int8"], model=folder)
    assert dict(caught.value.failure.notes)["hint"] == (
        "run `optimize: O1` first: it stores what is computed from weights alone"
    )
    _, folded = run_step(*STEPS["O1"], model=folder)
    _, output = run_step(*STEPS["int8"], model=folded)
    assert max(differences(folder / "model.onnx", output / "model.onnx")) < BOUNDS["int8"]


def test_a_product_of_what_is_fed_has_no_weight_to_fold():
    """Attention's product of two computed values: no step before the quantizer would change it."""
    nodes = [node("Transpose", ["x"], ["t"]), node("MatMul", ["x", "t"], ["y"])]
    assert left_in_float(build(nodes, [], shape=None), ()) == {COMPUTED: ["n_y"]}


def test_half_precision_of_weights_in_branches_says_where_they_are():
    with pytest.raises(CheckFailed) as caught:
        run_step(*STEPS["fp16"], model=folder_of(products_in_branches()))
    assert caught.value.failure.code == "OBE49"
    assert dict(caught.value.failure.notes)["hint"] == (
        "its weights are read by branches or loops, which stay in fp32: leave `precision:` out"
    )


BF16 = PrecisionParams(dtype="bf16", keep_io_types=False)


def branches_with_weights_in_fp16():
    then = [helper.make_node("Cast", ["held"], ["k"], to=FLOAT), helper.make_node("Mul", ["m", "k"], ["o"])]
    other = [helper.make_node("Neg", ["m"], ["o"])]
    inner = branch(then, "o", [stored("held", OUTER, dtype=np.float16)])
    choose = node("If", ["c"], ["y"], then_branch=inner, else_branch=branch(other, "o"))
    return build([node("MatMul", ["x", "w"], ["m"]), choose], [WEIGHT], inputs=[CHOICE])


@pytest.mark.parametrize("form", [branches_with_weights_in_fp16, a_cast, numbers_without_a_tensor, local_functions])
def test_bf16_has_one_type_everywhere(form):
    """No CPU runs it: the same graph is run with fp32 in the place of bf16, after onnx has checked its types."""
    folder = folder_of(form())
    _, output = run_step(precision, BF16, model=folder)
    model = onnx.shape_inference.infer_shapes(load_model(output / "model.onnx"), check_type=True, strict_mode=True)
    for one in [tensor for inner in graphs_of(model.graph) for tensor in inner.initializer]:
        if one.data_type == TensorProto.BFLOAT16:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one).astype(np.float32), one.name))
    for one in (one for each in nodes_of(model) for one in each.attribute):
        if one.name == "to" and one.i == TensorProto.BFLOAT16:
            one.i = FLOAT
        elif one.type == onnx.AttributeProto.TENSOR and one.t.data_type == TensorProto.BFLOAT16:
            one.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one.t).astype(np.float32)))
    del model.graph.value_info[:]
    for one in (*model.graph.input, *model.graph.output):
        if one.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            one.type.tensor_type.elem_type = FLOAT
    save_model(model, folder / "as-fp32.onnx")
    assert max(differences(folder / "model.onnx", folder / "as-fp32.onnx")) < 0.02


@pytest.mark.parametrize(("opset", "ir", "operator"), [(12, 7, "MatMul"), (14, 7, "Where")])
def test_bf16_at_an_opset_without_it_is_a_failure_that_names_the_operator(opset, ir, operator):
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Where", ["c", "m", "b"], ["y"])]
    folder = folder_of(build(nodes, [WEIGHT, BIAS], inputs=[CHOICE], opset=opset, ir=ir))
    with pytest.raises(CheckFailed) as caught:
        run_step(precision, BF16, model=folder)
    assert str(caught.value) == f"OBE105 {operator} does not take bf16 at opset {opset}, which the graph has"
    assert f"`keep_fp32: [{operator}]`" in dict(caught.value.failure.notes)["hint"]


STATIC = QuantizeParams(method="static", preset="avx2", dataset="text")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("form", [several_matrices, branches_read_values_and_weights], ids=lambda form: form.__name__)
def test_static_int8_of_weights_of_three_axes_and_of_values_that_branches_read(form, per_channel):
    folder = folder_of(form())
    feeds = feeds_of(open_for_check(folder / "model.onnx"))
    params = QuantizeParams(method="static", preset="avx2", dataset="text", per_channel=per_channel)
    model, _ = quantize_with_ranges(load_model(folder / "model.onnx"), folder, params, lambda: feeds)
    save_model(model, folder / "static.onnx")
    assert max(differences(folder / "model.onnx", folder / "static.onnx")) < BOUNDS["int8"]


@pytest.mark.parametrize(
    ("opset", "fields", "needed", "hint"),
    [
        (12, {}, "per channel needs opset 13", "set `opset: 18`, the default, or write `per_channel: false`"),
        (9, {}, "per channel needs opset 13", "set `opset: 18`, the default; a graph"),
        (9, {"per_channel": False}, "per tensor needs opset 10", "set `opset: 18`, the default; a graph"),
    ],
)
def test_an_opset_that_is_too_low_for_static_int8(opset, fields, needed, hint):
    params = QuantizeParams(method="static", preset="avx2", dataset="text", **fields)
    with pytest.raises(CheckFailed) as caught:
        quantize_with_ranges(build(PRODUCT, [WEIGHT, BIAS], opset=opset), scratch(), params, list)
    assert str(caught.value) == f"OBE87 static int8 {needed}, and the graph has {opset}"
    assert hint in dict(caught.value.failure.notes)["hint"]


@pytest.mark.parametrize(
    ("opset", "fields"), [(12, {"per_channel": False}), (10, {"per_channel": False}), (9, {"activations": 16})]
)
def test_an_opset_that_is_high_enough_for_static_int8(opset, fields):
    folder = folder_of(build(PRODUCT, [WEIGHT, BIAS], opset=opset, ir=4))
    feeds = feeds_of(open_for_check(folder / "model.onnx"))
    params = QuantizeParams(method="static", preset="avx2", dataset="text", **fields)
    model, facts = quantize_with_ranges(load_model(folder / "model.onnx"), folder, params, lambda: feeds)
    save_model(model, folder / "static.onnx")
    assert facts["calibration"]["samples"] == 1
    assert max(differences(folder / "model.onnx", folder / "static.onnx")) < BOUNDS["int8"]


def test_gptq_reads_what_a_graph_is_fed():
    """The product reads an input, so that no value of the graph has to be computed for it."""
    folder = folder_of(build(PRODUCT, [WEIGHT, BIAS]))
    feeds = feeds_of(open_for_check(folder / "model.onnx"))
    params = QuantizeParams(method="weight-only", algorithm="gptq", dataset="text")
    model = quantize_gptq(load_model(folder / "model.onnx"), params, feeds, folder, CountedSteps(lambda *_: None, 0))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    save_model(model, folder / "gptq.onnx")
    assert max(differences(folder / "model.onnx", folder / "gptq.onnx")) < BOUNDS["q4"]


def test_a_copy_of_an_embedding_stays_one_weight():
    nodes = [
        node("Identity", ["w"], ["same"]),
        node("Transpose", ["same"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"], ["y"]),
        node("Gather", ["w", "i"], ["row"]),
    ]
    model = build(nodes, [stored("w", OUTER, INNER), numpy_helper.from_array(np.array(1), "i")])
    assert store_weights(model) == 1
    assert [one.op_type for one in model.graph.node] == ["Transpose", "MatMul"]
    assert [one.name for one in model.graph.initializer] == ["w", "i"]


def test_names_that_two_branches_use_are_left_alone():
    """The copy in one branch is of another constant than that in the other."""

    def of(seed):
        constant = numpy_helper.from_array(np.full((INNER, OUTER), seed, np.float32))
        return branch([helper.make_node("Constant", [], ["k"], value=constant), node("Identity", ["k"], ["copy"]),
                       node("MatMul", ["x", "copy"], ["o"])], "o")  # fmt: skip

    model = build([node("If", ["c"], ["y"], then_branch=of(1.0), else_branch=of(2.0))], [], inputs=[CHOICE])
    before = model.SerializeToString()
    assert store_weights(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("x", "squeezed"),
    [(("k", "n", INNER), 1), (("n", INNER), 0), ((INNER,), 0)],
)
def test_a_weight_is_made_a_matrix_only_if_no_shape_changes(x, squeezed):
    model = build([node("MatMul", ["x", "w"], ["y"])], [stored("w", 1, INNER, OUTER)], x=x, shape=None)
    assert squeeze_weights(model) == squeezed
    assert list(model.graph.initializer[0].dims) == ([INNER, OUTER] if squeezed else [1, INNER, OUTER])
