"""README.md of a package for Transformers.js: what the library and the Hub read of it, its files, and how to run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from onnxbuild.tables.publishing.hub_tasks import hub_task
from onnxbuild.tables.publishing.javascript_dtypes import SUFFIXES, JavaScriptTask
from onnxbuild.tables.publishing.javascript_halves import Half

_DOCUMENTATION = "https://huggingface.co/docs/transformers.js/api/pipelines#module_pipelines"
# What a call of each pipeline is given.
_CALLS: Mapping[str, str] = {
    "text": '"The harbour is quiet tonight."',
    "pair": '"Where is it quiet?", "It is quiet in the harbour tonight."',
    "image": '"picture.png"',
    "audio": '"recording.wav"',
    "image-and-text": '"picture.png", ["a harbour", "a mountain"]',
}
# Half → what makes its inputs, what else the example imports, and how the inputs are made.
_INPUTS_OF_HALF: Mapping[str, tuple[str, str, str]] = {
    "text": (
        "AutoTokenizer",
        "env",
        "prepare(['a harbour', 'a mountain'], {{ padding: {padding}, truncation: true }})",
    ),
    "image": ("AutoProcessor", "env, load_image", "await prepare(await load_image('picture.png'))"),
}


def card(
    folder: Path,
    task: str,
    row: JavaScriptTask,
    architecture: str,
    dtypes: Iterable[str],
    default: str,
    *,
    whole: bool = True,
    halves: Iterable[Half] = (),
) -> str:
    """The text of the card. `default`: the dtype in the examples; `whole`: whether it has the whole model."""
    hub = hub_task(task)
    name = row.tag or (hub.tag if hub is not None else "")
    tag = [f"pipeline_tag: {name}"] if name else []
    head = ["---", "library_name: transformers.js", *tag, "tags:", "- onnx", "- transformers.js", "---"]
    title = f"# {architecture} (ONNX)"
    usage = _usage(row, default) if whole else []
    of_halves = [line for half in halves for line in _of_half(half, default)]
    return "\n".join([*head, "", title, "", *usage, *of_halves, *_table(folder, dtypes), ""])


def _usage(row: JavaScriptTask, default: str) -> list[str]:
    return [
        "## Usage with Transformers.js",
        "",
        *([] if row.of_class else _documented(row)),
        "```bash",
        "npm install @huggingface/transformers",
        "```",
        "",
        *(_class_example(row, default) if row.of_class else _pipeline_example(row, default)),
        "",
    ]


def _documented(row: JavaScriptTask) -> list[str]:
    return [f"See the documentation of [`{row.documented}`]({_DOCUMENTATION}.{row.documented}).", ""]


def _pipeline_example(row: JavaScriptTask, default: str) -> list[str]:
    return [
        "```js",
        "import { env, pipeline } from '@huggingface/transformers';",
        "",
        "// The folder that holds this package, and the name of the package in it.",
        "env.allowRemoteModels = false;",
        "env.allowLocalModels = true;",
        "env.localModelPath = './models/';",
        f"const run = await pipeline('{row.pipeline}', 'PACKAGE', {{ dtype: '{default}' }});",
        f"console.log(await run({row.given or _CALLS[row.reads]}{row.options}));",
        "```",
    ]


def _class_example(row: JavaScriptTask, default: str) -> list[str]:
    """An example of a class that cuts the object at a point out of a picture."""
    return [
        "```js",
        f"import {{ AutoProcessor, {row.of_class}, env, load_image }} from '@huggingface/transformers';",
        "",
        "// The folder that holds this package, and the name of the package in it.",
        "env.allowLocalModels = true;",
        "env.localModelPath = './models/';",
        "const processor = await AutoProcessor.from_pretrained('PACKAGE');",
        f"const model = await {row.of_class}.from_pretrained('PACKAGE', {{ dtype: '{default}' }});",
        "const inputs = await processor(await load_image('picture.png'), { input_points: [[[45, 60]]] });",
        "const { pred_masks, iou_scores } = await model(inputs);",
        "const masks = await processor.image_processor.post_process_masks(",
        "  pred_masks, inputs.original_sizes, inputs.reshaped_input_sizes,",
        ");",
        "console.log(masks[0].dims, iou_scores.data);",
        "```",
    ]


def _of_half(half: Half, default: str) -> list[str]:
    """An example of one half, whose vectors are not yet divided by their lengths."""
    maker, others, call = _INPUTS_OF_HALF[half.reads]
    return [
        f"## The {half.reads} half alone",
        "",
        "```js",
        f"import {{ {maker}, {half.javascript_class}, {others} }} from '@huggingface/transformers';",
        "",
        "env.allowRemoteModels = false;",
        "env.allowLocalModels = true;",
        "env.localModelPath = './models/';",
        f"const prepare = await {maker}.from_pretrained('PACKAGE');",
        f"const model = await {half.javascript_class}.from_pretrained('PACKAGE', {{ dtype: '{default}' }});",
        f"const {{ {half.gives} }} = await model({call.format(padding=half.padding)});",
        "```",
        "",
    ]


def _table(folder: Path, dtypes: Iterable[str]) -> list[str]:
    rows = [f"| `{dtype}` | {_names(folder, dtype)} | {_megabytes(folder, dtype)} |" for dtype in dtypes]
    return ["## Files", "", "| dtype | files in `onnx/` | MB |", "|---|---|---:|", *rows]


def _names(folder: Path, dtype: str) -> str:
    return ", ".join(f"`{path.name}`" for path in graphs_of(folder, dtype))


def _megabytes(folder: Path, dtype: str) -> str:
    parts = (part for path in graphs_of(folder, dtype) for part in path.parent.glob(f"{path.name}*"))
    return f"{sum(part.stat().st_size for part in parts) / 1e6:,.1f}"


def graphs_of(folder: Path, dtype: str) -> list[Path]:
    """The graphs of one dtype in a package."""
    others = [suffix for name, suffix in SUFFIXES.items() if name != dtype and suffix]
    found = sorted((folder / "onnx").glob(f"*{SUFFIXES[dtype]}.onnx"))
    if SUFFIXES[dtype]:
        return found
    return [path for path in found if not path.stem.endswith(tuple(others))]
