"""A backend, `chip`, whose compiler is the program `chipc` and whose device is there where `chiprun` is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from onnxbuild.needs.step_needs import LIBRARY, PROGRAM
from onnxbuild.steps.compiling.backend_kind import Backend, CompileParams


class ChipParams(CompileParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to compile for the chip."""

    cores: Annotated[int, Meta(description="number of cores")] = 16
    library: Annotated[str, Meta(description="a library that the compiler needs")] = ""


CHIP = Backend(
    name="chip",
    summary="a chip that copies what it is given",
    version=1,
    params=ChipParams,
    worker="toy_steps.chips:run",
    engine="toy_steps.chip_engine:ChipModel",
    verified_on="device",
    compiler=lambda params: (f"{PROGRAM}chipc", *([f"{LIBRARY}{params.library}"] if params.library else [])),
    runs_with=lambda _params: (f"{PROGRAM}chiprun",),
    pure=True,
)


def run(params: ChipParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], _tell: Any) -> Mapping[str, Any]:
    from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage, CompilerOfRecord, StageInput
    from onnxbuild.workers.compile.worker import finish, run_compiler, write_script
    from onnxbuild.workers.engines.compiled.needs_here import absent_here
    from onnxbuild.workers.folders.model_files import copy_model_file

    folder = outputs["model"]
    copy_model_file(inputs["model"] / "model.onnx", folder / "model.onnx")
    command = ("chipc", f"-cores={params.cores}", "model.onnx", "model.chip")
    write_script(folder, command)
    absent = absent_here(CHIP.compiler(params))
    if absent is None:
        run_compiler(command, folder, makes=["model.chip"])
    record = CompiledRecord(
        backend="chip",
        state="compiled" if absent is None else "prepared",
        compiler=CompilerOfRecord(name="chipc", version=None if absent else "1", command=command),
        device="Chip 100",
        stages={"forward": CompiledStage(file="model.chip", inputs={"x": StageInput(("batch",), "tensor(float)")},
                                         outputs={"y": ("batch",)})},
        properties={"cores": str(params.cores)},
        needs=absent,
    )  # fmt: skip
    return finish(inputs["model"], folder, record)
