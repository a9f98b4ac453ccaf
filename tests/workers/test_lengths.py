"""Validation compares lengths that the model makes likely, and says up to where a graph holds."""

from __future__ import annotations

import json
from collections import deque

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from small_models import Exported, exported  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.export import ExportParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.thresholds import THRESHOLDS, table_of  # noqa: E402
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel  # noqa: E402
from onnxbuild.workers.engines.own_state import OwnState  # noqa: E402
from onnxbuild.workers.engines.torch_engine import TorchModel  # noqa: E402
from onnxbuild.workers.export.worker import run as export  # noqa: E402
from onnxbuild.workers.inputs.sample_source import open_source  # noqa: E402
from onnxbuild.workers.inputs.samples import shaped  # noqa: E402
from onnxbuild.workers.inputs.stages import run_stages  # noqa: E402
from onnxbuild.workers.validate.compare import Record, Task  # noqa: E402
from onnxbuild.workers.validate.extent import Judge, holds_up_to, of_few_rows  # noqa: E402
from onnxbuild.workers.validate.lengths import chosen, of_length  # noqa: E402
from onnxbuild.workers.validate.trial import Trial  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402
from onnxbuild.workers.validate.worst import Worst  # noqa: E402

pytestmark = pytest.mark.heavy

_SIZES = {"vocab_size": 313, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3,
          "intermediate_size": 53}  # fmt: skip
_TEXT = "text-generation-with-past"


def _bigbird():
    from transformers import BigBirdConfig, BigBirdForMaskedLM

    return BigBirdForMaskedLM(
        BigBirdConfig(**_SIZES, max_position_embeddings=640, block_size=16, num_random_blocks=1, initializer_range=0.4)
    )


def _bigbird_of_odd_positions():
    """It pads 225 tokens and more to 240, and refuses them."""
    from transformers import BigBirdConfig, BigBirdForMaskedLM

    sparse = {"block_size": 16, "num_random_blocks": 3}
    return BigBirdForMaskedLM(BigBirdConfig(**_SIZES, **sparse, max_position_embeddings=230, initializer_range=0.4))


def _dynamic():
    from transformers import LlamaConfig, LlamaForCausalLM

    rope = {"rope_type": "dynamic", "factor": 9.0}
    return LlamaForCausalLM(
        LlamaConfig(**_SIZES, num_key_value_heads=1, max_position_embeddings=160, rope_scaling=rope)
    )


def _longrope():
    from transformers import Phi3Config, Phi3ForCausalLM

    rope = {"type": "longrope", "short_factor": [1.0] * 6, "long_factor": [3.0 + i for i in range(6)]}
    config = Phi3Config(
        **_SIZES, max_position_embeddings=700, original_max_position_embeddings=150, rope_scaling=rope,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return Phi3ForCausalLM(config)


def _window():
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(**_SIZES, num_key_value_heads=1, max_position_embeddings=700, sliding_window=150)
    return MistralForCausalLM(config)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Checkpoints of the models above and what optimum makes of them, each made once."""
    ready = {}

    def make(build, task, **options):
        key = (build.__name__, *options.items())
        if key not in ready:
            torch.manual_seed(20)
            folder = tmp_path_factory.mktemp(build.__name__)
            build().eval().save_pretrained(folder / "checkpoint")
            (folder / "onnx").mkdir()
            params = ExportParams(task=task, exporter="optimum", **options)
            export(params, {"model": folder / "checkpoint"}, {"model": folder / "onnx"}, lambda *_: None)
            ready[key] = Exported(folder / "checkpoint", folder / "onnx", task)
        return ready[key]

    return make


@pytest.fixture
def validate(tmp_path):
    def run_it(model, **params):
        (tmp_path / "report").mkdir(exist_ok=True)
        bounds = THRESHOLDS[table_of(model.task)]["fp32"]
        settled = ValidateParams(task=model.task, thresholds=bounds, **params)
        return run(settled, model.inputs, {"report": tmp_path / "report"}, lambda *_: None)

    return run_it


# The length is where PyTorch changes its ways: block_sparse above (5 + 2 × 1) × 16 tokens, positions of the training
# before its rotary embedding is scaled; a prompt is compared with the three tokens after it.
@pytest.mark.parametrize(
    ("build", "task", "limit"), [(_bigbird, "fill-mask", 112), (_dynamic, _TEXT, 157), (_longrope, _TEXT, 147)]
)
def test_a_graph_that_holds_in_part_fails_with_its_limit_which_can_be_accepted(made, validate, build, task, limit):
    with pytest.raises(CheckFailed) as caught:
        validate(made(build, task))
    failure = caught.value.failure
    assert failure.code == "OBE86"
    assert failure.message.startswith(f"the graph holds up to {limit} tokens, and fails with ")
    assert (
        "hint",
        f"`export: {{max_length: {limit}}}` accepts this limit; another exporter may have none",
    ) in failure.notes
    assert failure.facts["passed"] is False

    facts = validate(made(build, task), max_length=limit)
    assert facts["passed"] is True
    assert int(facts["chosen"][-1].rpartition("×")[2]) == limit
    with pytest.raises(CheckFailed, match="OBE86"):
        validate(made(build, task), max_length=limit + 5)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_a_model_that_refuses_its_last_positions_is_compared_with_the_longest_text_that_it_takes(
    made, validate, monkeypatch, is_known
):
    """The validation passed: 230 tokens were refused by PyTorch, and 131 are within its full attention of 176."""
    if not is_known:
        monkeypatch.setattr("onnxbuild.tables.positions._sparse_from", lambda _text: 0)
    model = made(_bigbird_of_odd_positions, "fill-mask")
    with pytest.raises(CheckFailed, match="OBE86 the graph holds up to 176 tokens, and fails with "):
        validate(model)


def test_a_window_that_is_traced_right_holds_beyond_it(made, validate):
    facts = validate(made(_window, _TEXT))
    assert (facts["passed"], facts["chosen"]) == (True, ["shape 2×131", "shape 1×153", "shape 1×699"])
    assert facts["metrics"]["max_abs"] < 1e-4


def test_the_order_of_shapes_decides_nothing(made, validate):
    """BigBird exchanges its attention for good at the first short text."""
    for shapes in ([(2, 300)], [(1, 8), (2, 300)], [(2, 300), (1, 8)]):
        with pytest.raises(CheckFailed, match="OBE04 `max_abs` is"):
            validate(made(_bigbird, "fill-mask"), shapes=tuple(shapes), max_length=100)


def test_the_default_shapes_are_cut_to_a_model_of_few_positions(made, validate):
    def short():
        from transformers import BertConfig, BertForMaskedLM

        return BertForMaskedLM(BertConfig(**_SIZES, max_position_embeddings=21))

    facts = validate(made(short, "fill-mask"))
    assert (facts["passed"], facts["chosen"]) == (True, ["shape 2×21"])


def test_warn_says_up_to_where_it_holds(made, validate):
    facts = validate(made(_bigbird, "fill-mask"), on_failure="warn")
    assert facts["passed"] is False
    assert facts["failures"][0].startswith("the graph holds up to 112 tokens, and fails with 131: ")


def _source(model, **config):
    path = model.onnx / "config.json"
    whole = json.loads(path.read_text())
    opened = open_source(model.onnx, OnnxModel(model.onnx, threads=1), model.task, seed=0)
    return type(opened)(
        **{name: getattr(opened, name) for name in opened.__struct_fields__ if name != "config"},
        config={**whole, **config},
    )


def test_lengths_are_chosen_by_what_the_config_names_and_by_memory():
    gpt2 = exported("gpt2")  # 256 positions
    assert chosen(_source(gpt2), 1000, None).lengths == (131, 255)
    assert chosen(_source(gpt2), 1000, 77).lengths == (77,)
    long = {"n_positions": 5001, "sliding_window": 700}
    found = chosen(_source(gpt2, **long), 1000, None)
    assert found.lengths[:2] == (131, 703)
    assert 1000 < found.lengths[-1] < 5000
    assert found.unreached == {}
    # So wide a window does not fit 1 GiB with 64 heads; it does beside weights of 8 GB.
    wide = {"n_positions": 50001, "sliding_window": 2100, "n_head": 64, "num_attention_heads": 64}
    assert chosen(_source(gpt2, **wide), 1000, None).unreached == {"sliding_window": 2100}
    assert 2103 in chosen(_source(gpt2, **wide), 8 << 30, None).lengths


def test_an_unreached_way_of_computing_is_a_warning(made, validate, monkeypatch):
    monkeypatch.setattr("onnxbuild.workers.validate.lengths._PAST_CONSTANTS_BYTES", 1 << 16)
    monkeypatch.setattr("onnxbuild.workers.validate.lengths._LONGEST_BYTES", 1 << 16)
    facts = validate(made(_window, _TEXT))
    assert facts["warnings"][0] == (
        "no sample is longer than 131 tokens, so what changes after `sliding_window: 150` was not compared"
    )


def test_steps_follow_a_prompt_with_a_growing_past():
    model = exported("gpt2")
    engine = OnnxModel(model.onnx, threads=1)
    sample = shaped(_source(model), 2, 9)
    passes = list(run_stages(engine, sample, engine.stages, steps=3))
    assert [stage for stage, _, _ in passes] == ["prefill", "decode", "decode", "decode"]
    assert [feeds["attention_mask"].shape for _, feeds, _ in passes] == [(2, 9), (2, 10), (2, 11), (2, 12)]
    assert [outputs["present.0.key"].shape[2] for _, _, outputs in passes] == [9, 10, 11, 12]
    # The second row has 7 real tokens of 9: its positions go on after them.
    assert [feeds["position_ids"].ravel().tolist() for _, feeds, _ in passes[1:]] == [[9, 7], [10, 8], [11, 9]]
    last = of_length(_source(model), 255)
    assert last.step_ids.shape == (1, 1)  # 256 positions


def test_the_decoder_of_an_encoder_decoder_gets_as_long_a_text():
    sample = of_length(_source(exported("t5")), 131)
    assert (sample.feeds["input_ids"].shape, sample.decoder_ids.shape, sample.step_ids.shape) == (
        (1, 131),
        (1, 131),
        (1, 3),
    )


def test_a_limit_is_found_by_halving():
    asked = []

    def holds(length):
        asked.append(length)
        return length <= 64

    assert holds_up_to(holds, 32, 131) == 64
    assert len(asked) <= 7
    assert holds_up_to(holds, 64, 65) == 64


def test_what_a_model_changes_of_itself_is_put_back():
    from transformers import BertConfig

    class Changing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(3, 2)
            self.register_buffer("seen", torch.zeros(2))
            self.kind, self.lengths = "sparse", [1]
            self.deep, self.longest, self.counts = {"by length": [deque([1])]}, torch.zeros(3), np.zeros(2)
            self.config = BertConfig(chunk=[7])

        def forward(self, x):
            self.kind = "full"
            self.deep["by length"][0].append(len(x))
            self.longest[1:] += len(x)
            self.counts += 1
            self.config.chunk.append(9)
            self.config.is_decoder = True
            self.drawn = torch.rand(2)
            self.lengths.append(len(x))
            self.inner = torch.nn.Linear(3, 2)
            self.added = 1
            self.seen += 1
            return self.inner(x)

    model = Changing()
    inner, state = model.inner, OwnState(model)
    config, drawn = model.config, []
    for _ in range(2):
        state.restore()
        model(torch.zeros(5, 3))
        drawn.append(model.drawn.tolist())
        with torch.inference_mode():
            state.restore()
        assert (model.kind, model.lengths, model.seen.tolist()) == ("sparse", [1], [0.0, 0.0])
        assert (model.deep, model.longest.tolist()) == ({"by length": [deque([1])]}, [0.0, 0.0, 0.0])
        assert model.counts.tolist() == [0.0, 0.0]
        assert model.config is config
        assert (config.chunk, config.is_decoder) == ([7], False)
        assert model.inner is inner
        assert not hasattr(model, "added")
        assert np.isfinite(model.inner.weight.detach().numpy()).all()
    assert drawn[0] == drawn[1]
    assert not state.lost_weights()


def test_a_model_that_writes_to_its_weights_is_loaded_again():
    from transformers import BertConfig

    class Learning(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = BertConfig()
            self.weight = torch.nn.Parameter(torch.full((2,), 3.0))
            self.register_buffer("mean", torch.ones(2))

        def forward(self, x):
            y = x * self.weight * self.mean
            self.weight.mul_(x.shape[0])
            self.mean.data += 1
            return {"y": y}

    model = TorchModel(Learning(), load_seconds=0.0, again=Learning)
    for rows in (2, 5, 3):
        model.renew()
        given = np.ones((rows, 2), np.float32)
        assert model.run("forward", {"x": given})["y"].tolist() == (3 * given).tolist()


def test_a_graph_that_takes_pictures_of_one_size_says_so(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.resnet import ResNetConfig, ResNetForImageClassification

    sizes = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 53}
    models = {
        "vit": ViTForImageClassification(ViTConfig(**sizes, image_size=28, patch_size=7)),
        "resnet": ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1])),
    }
    found = {}
    for name, model in models.items():
        (tmp_path / name / "onnx").mkdir(parents=True)
        model.eval().save_pretrained(tmp_path / name / "checkpoint")
        params = ExportParams(task="image-classification", exporter="optimum")
        places = {"model": tmp_path / name / "checkpoint"}, {"model": tmp_path / name / "onnx"}
        facts = export(params, *places, lambda *_: None)
        shape = OnnxModel(places[1]["model"], threads=1).inputs("forward")["pixel_values"].shape
        found[name] = (facts.get("picture"), shape[1:])
    assert found == {"vit": ([28, 28], (3, 28, 28)), "resnet": (None, (3, "height", "width"))}


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_is_wrong_for_another_size_of_pictures_fails(tmp_path, validate):
    """A graph that gives every picture the logits of the size that it was made for."""
    from transformers.models.resnet import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(21)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], num_labels=5)
    model = ResNetForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "onnx").mkdir()

    class Cropping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.whole = model

        def forward(self, pixel_values):
            return self.whole(pixel_values[:, :, :224, :224]).logits

    axes = {"pixel_values": {0: "batch", 2: "height", 3: "width"}, "logits": {0: "batch"}}
    torch.onnx.export(
        Cropping(), (torch.zeros(1, 3, 224, 224),), tmp_path / "onnx" / "model.onnx", dynamo=False, opset_version=18,
        input_names=["pixel_values"], output_names=["logits"], dynamic_axes=axes,
    )  # fmt: skip
    (tmp_path / "onnx" / "config.json").write_text((tmp_path / "checkpoint" / "config.json").read_text())
    with pytest.raises(
        CheckFailed, match="OBE86 the graph leaves the size of pictures free, and fails for another one"
    ):
        validate(Exported(tmp_path / "checkpoint", tmp_path / "onnx", "image-classification"))


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_draws_random_values_is_named(tmp_path, validate):
    from transformers.models.vit_mae import ViTMAEConfig, ViTMAEModel

    torch.manual_seed(21)
    sizes = {"hidden_size": 36, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 53}
    model = ViTMAEModel(ViTMAEConfig(**sizes, image_size=28, patch_size=7))
    model.eval().save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "onnx").mkdir()
    params = ExportParams(task="feature-extraction", exporter="optimum")
    export(params, {"model": tmp_path / "checkpoint"}, {"model": tmp_path / "onnx"}, lambda *_: None)
    with pytest.raises(CheckFailed, match=r"OBE89 the graph draws random values \(RandomUniform(Like)?\), and differs"):
        validate(Exported(tmp_path / "checkpoint", tmp_path / "onnx", "feature-extraction"))


@pytest.mark.parametrize(
    ("metric", "bound", "of_few"),
    [("cosine_mean", 0.96, 0.84), ("top1", 1.0, 1.0), ("kl_mean", 0.05, 0.2), ("perplexity_ratio", 1.01, 1.04),
     ("cosine_min", 0.9999, 0.9999), ("max_abs", 0.01, 0.01)],
)  # fmt: skip
def test_a_bound_on_a_mean_is_wider_for_few_rows(metric, bound, of_few):
    assert of_few_rows(metric, bound) == pytest.approx(of_few)


@pytest.mark.parametrize(
    ("difference", "agrees", "fault"),
    [(0.19, 0.5, None), (0.21, 0.5, "`top1` is 0.5, below 0.88"), (0.21, 1.0, None)],
    ids=["as elsewhere", "more than elsewhere", "the same labels"],
)
def test_another_label_of_few_rows_counts_where_probabilities_differ_more_than_elsewhere(difference, agrees, fault):
    usual = {"max_probability": Worst(value=0.05, where="somewhere")}
    task = Task(table="classification")
    values = {"top1": agrees, "max_probability": difference}
    record = Record(stage="forward", output="logits", where="here", rows=2, values=values)
    judge = Judge(sides=None, source=None, task=task, thresholds={"top1": 0.97}, usual=usual)
    found = judge.fault(Trial(sample=None, records=[record]))
    assert found is None if fault is None else found.startswith(fault)
