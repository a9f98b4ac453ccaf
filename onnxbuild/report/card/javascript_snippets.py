"""How the files of a variant are loaded in JavaScript.

Transformers.js looks for `onnx/model.onnx`, with a suffix for each precision. With `subfolder: ""` and the dtype
`fp32`, which has no suffix, it loads `model.onnx` beside the tokenizer, whatever its precision is.
"""

from __future__ import annotations

from onnxbuild.report.card.snippets import (
    CONTEXT,
    QUESTION,
    SENTENCES,
    VECTORS,
    Snippet,
    example_of,
    graph_of,
    has_text,
    is_merged,
    is_one_graph,
    literal,
    returns_vectors,
    row_of,
    takes_pairs,
)
from onnxbuild.report.card.subject import Folder

_BROWSER = (
    "`dtype` chooses the name of the file and not its precision: `fp32` stands for the name without a suffix. In a "
    "browser, serve this folder, set `env.allowLocalModels` to `true` and `env.localModelPath` to the folder's address."
)


def javascript_snippet(task: str, folder: Folder) -> Snippet:
    """The example for a task, an ES module."""
    if _is_found(task, folder):
        lines = "\n".join([*_beginning(task, folder), "", *_calls(task, folder)])
        return Snippet(install="npm install @huggingface/transformers", lines=lines, notes=_BROWSER)
    return Snippet(install="npm install onnxruntime-node", lines=_session(folder))


def _is_found(task: str, folder: Folder) -> bool:
    """Whether Transformers.js finds the files of the task, and a tokenizer."""
    row = row_of(task)
    if row is None or not has_text(folder) or not folder.has("tokenizer_config.json"):
        return False
    if task.startswith("text2text"):
        return is_merged(folder)
    return is_one_graph(folder) and (
        row.pipeline is not None or returns_vectors(folder) or example_of(task) == "tokens"
    )


def _beginning(task: str, folder: Folder) -> list[str]:
    names = "AutoModel, AutoTokenizer" if _is_plain_model(task, folder) else _names_for(task, folder)
    return [
        f"import {{ {names}, env }} from {literal('@huggingface/transformers')};",
        "",
        "env.allowRemoteModels = false;",
        'env.localModelPath = "./";',
        f"const folder = {literal(folder.name)};",
        f"const options = {{ {_options(folder)} }};",
    ]


def _names_for(task: str, folder: Folder) -> str:
    return "AutoModelForSequenceClassification, AutoTokenizer" if takes_pairs(task, folder) else "pipeline"


def _is_plain_model(task: str, folder: Folder) -> bool:
    return returns_vectors(folder) or example_of(task) == "tokens"


def _options(folder: Folder) -> str:
    external = ", use_external_data_format: true" if folder.has("model.onnx_data") else ""
    return f'subfolder: "", dtype: "fp32"{external}'


def _calls(task: str, folder: Folder) -> list[str]:
    """The lines that load the model and feed it."""
    if _is_plain_model(task, folder):
        output = VECTORS if returns_vectors(folder) else "last_hidden_state"
        texts = f"[{', '.join(map(literal, SENTENCES))}]"
        return [*_loaded("AutoModel"), *_fed(texts, "{ padding: true, truncation: true }", output)]
    if takes_pairs(task, folder):
        inputs = f"{{ text_pair: {literal(CONTEXT)}, truncation: true }}"
        return [*_loaded("AutoModelForSequenceClassification"), *_fed(literal(QUESTION), inputs, "logits")]
    row = row_of(task)
    assert row is not None, "BUG: files were found without a row"
    return [
        f"const run = await pipeline({literal(row.pipeline or '')}, folder, options);",
        f"console.log(await run({_asked(task)}));",
    ]


def _loaded(name: str) -> list[str]:
    return [
        "const tokenizer = await AutoTokenizer.from_pretrained(folder);",
        f"const model = await {name}.from_pretrained(folder, options);",
    ]


def _fed(texts: str, options: str, output: str) -> list[str]:
    return [
        f"const inputs = await tokenizer({texts}, {options});",
        f"const {{ {output} }} = await model(inputs);",
        f"console.log({output}.dims);",
    ]


def _asked(task: str) -> str:
    """What the pipeline is given."""
    if example_of(task) == "question":
        return f"{literal(QUESTION)}, {literal(CONTEXT)}"
    if example_of(task) == "gap":
        return "`The harbour is ${run.tokenizer.mask_token} tonight.`"
    more = ", { max_new_tokens: 20 }" if example_of(task) == "prompt" else ""
    return literal(SENTENCES[0]) + more


def _session(folder: Folder) -> str:
    return f"""
import {{ InferenceSession }} from "onnxruntime-node";

const session = await InferenceSession.create({literal(f"{folder.name}/{graph_of(folder)}")});
console.log(session.inputMetadata, session.outputMetadata);
""".strip()
