"""compile qaic: writes the graph and the files of the compiler, and compiles where the compiler is installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from onnx import TensorProto, numpy_helper

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage, CompilerOfRecord, StageInput
from onnxbuild.steps.compiling.qaic_backend import QaicParams, compiler_of
from onnxbuild.tables.compiling.cloud_ai_sdks import SDKS
from onnxbuild.tables.compiling.pooled_outputs import POOLINGS, Pooled
from onnxbuild.tables.positions import positions_of
from onnxbuild.tables.tasks import family_of
from onnxbuild.workers.compile.qaic.card.card_session import DEVICE
from onnxbuild.workers.compile.qaic.card.sdk_versions import UNKNOWN, check_compiler, sdk_versions
from onnxbuild.workers.compile.qaic.card_files import (
    GRAPH,
    PROGRAM_FILE,
    command_of,
    decoder_symbols,
    encoder_symbols,
    files_of,
)
from onnxbuild.workers.compile.worker import finish, run_compiler, write_script
from onnxbuild.workers.folders.model_files import carry_companions
from onnxbuild.workers.graphs.graph_files import load_model, save_model
from onnxbuild.workers.graphs.walk import tensors_of
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import with_its_code

_HALF = 65504.0  # the largest number of fp16


class Produced(Struct, frozen=True):
    """A graph: the config of its model, the inputs of its cache, how it pools, and the version of its producer."""

    config: Mapping[str, Any]
    states: tuple[str, ...]
    pooled: Pooled | None = None  # None for a decoder
    about: Mapping[str, Any] = {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a reader wants to know of it."""
        if self.pooled is None:
            return self.about
        return {**self.about, "pooling": self.pooled.pooling, "normalized": self.pooled.normalized}


@with_its_code
def run(params: QaicParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write everything that the compiler is given, compile if it is installed, and describe the result.

    Errors: CheckFailed OBE240 for a model that cannot be written, OBE242 if QEfficient fails, OBE244 for a compiler of
    another SDK; those of `run_compiler`.
    """
    folder = outputs["model"]
    decodes = family_of(params.task) == "decoder"
    versions = sdk_versions(compiler_of(params))
    check_compiler(compiler_of(params), params.sdk, versions)
    _check_length(params, inputs["model"], decodes=decodes)
    progress("writing the graph")
    with quiet():
        produced = _produced(params, inputs["model"], folder, decodes=decodes)
    clipped = _clip_to_half(folder)
    symbols = decoder_symbols(params) if decodes else encoder_symbols(params)
    for name, text in files_of(params, produced.config, symbols, produced.states, versions).items():
        (folder / name).write_text(text, encoding="utf-8")
    command = command_of(params, retained=decodes)
    write_script(folder, command)
    compiled = _compile(command, folder, progress)
    record = CompiledRecord(
        backend="qaic",
        state="compiled" if compiled else "prepared",
        compiler=CompilerOfRecord(
            name=compiler_of(params), version=(versions.apps or UNKNOWN) if compiled else None, command=command
        ),
        device=DEVICE,
        stages={"forward": _stage(decodes=decodes, normal=produced)},
        needs=None if compiled else compiler_of(params),
        settings={"decodes": decodes, "devices": params.num_devices, **produced.facts},
    )
    more = {"command": list(command), "clipped_to_fp16": clipped, **produced.facts}
    return finish(inputs["model"], folder, record, carry=carry_companions, **more)


def _check_length(params: QaicParams, checkpoint: Path, *, decodes: bool) -> None:
    """OBE240 for a program that is longer than the model, which lint does not find where it knows no config."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    name, length = ("ctx_len", params.ctx_len) if decodes else ("seq_len", max(params.seq_len))
    positions = positions_of(config)
    if positions is not None and length > positions:
        message = f"`{name}` has {length} tokens, and that is longer than the model's {positions} positions"
        raise CheckFailed("OBE240", message, notes=[("hint", f"write at most {positions} in `{name}`")])


def _produced(params: QaicParams, checkpoint: Path, folder: Path, *, decodes: bool) -> Produced:
    if params.producer == "qefficient":
        from onnxbuild.workers.compile.qaic.qefficient_producer import produce

        return Produced(*produce(params, checkpoint, folder, decodes=decodes))
    opset = SDKS[params.sdk].opset
    if decodes:
        return _decoder(params, checkpoint, folder, opset)
    from onnxbuild.workers.compile.qaic.pooled_graph import export_encoder

    config, pooled = export_encoder(
        checkpoint, folder, pooling=params.pooling, trusts_code=params.trusts_code, opset=opset
    )
    return Produced(_plain(config), (), pooled)


def _decoder(params: QaicParams, checkpoint: Path, folder: Path, opset: int) -> Produced:
    from onnxbuild.workers.compile.qaic.retained_graph import export_decoder, state_names

    batched = isinstance(params.full_batch_size, int)
    config = export_decoder(
        checkpoint, folder, batched=batched, context=params.ctx_len, trusts_code=params.trusts_code, opset=opset
    )
    return Produced(_plain(config), tuple(state_names(config.num_hidden_layers)))


def _plain(config: Any) -> dict[str, Any]:
    """A config without the place from which it was loaded."""
    return {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}


def _stage(*, decodes: bool, normal: Produced) -> CompiledStage:
    """How a validation sees the variant: as one pass over whole texts."""
    tokens = StageInput(("batch_size", "sequence_length"), "tensor(int64)")
    vocabulary = normal.config.get("vocab_size", "vocabulary")
    outputs: dict[str, tuple[int | str, ...]] = {"logits": ("batch_size", "sequence_length", vocabulary)}
    if normal.pooled is not None:
        # The program calls it `output`. For comparing, its name says what PyTorch has to do.
        by_token: dict[str, tuple[int | str, ...]] = {"last_hidden_state": ("batch_size", "sequence_length", "hidden")}
        pools = normal.pooled.pooling in POOLINGS
        outputs = {normal.pooled.output: ("batch_size", "hidden")} if pools else by_token
    # A stage without positions would be taken for one that counts the padding.
    names = ("input_ids", "attention_mask", *(("position_ids",) if decodes else ()))
    return CompiledStage(file=GRAPH, inputs=dict.fromkeys(names, tokens), outputs=outputs)


def _clip_to_half(folder: Path) -> list[str]:
    """Bring every number into the range of fp16, in which the card computes: a mask of -3.4e38 would be infinite.

    The names of the tensors that are weights and were changed. Efficient Transformers does the same.
    """
    model = load_model(folder / GRAPH)
    clipped = [tensor.name for tensor in tensors_of(model) if _clip(tensor)]
    save_model(model, folder / GRAPH)
    return sorted(name for name in clipped if name in {one.name for one in model.graph.initializer})


def _clip(tensor: TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT:
        return False
    values = numpy_helper.to_array(tensor)
    if not (np.abs(values) > _HALF).any():
        return False
    tensor.CopyFrom(numpy_helper.from_array(np.clip(values, -_HALF, _HALF), tensor.name))
    return True


def _compile(command: tuple[str, ...], folder: Path, progress: Tell) -> bool:
    """Compile, and say whether the compiler is installed. Only the one on the PATH is used: the key has its version."""
    program = shutil.which(command[0])
    if program is None:
        return False
    progress(f"compiling with {command[0]}")
    run_compiler([program, *command[1:]], folder, makes=[PROGRAM_FILE])
    return True
