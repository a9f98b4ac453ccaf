"""How the files of a variant are loaded in Python.

optimum and sentence-transformers take the vectors of tokens under the name `last_hidden_state`, so a graph that has
the pooling in it is run by ONNX Runtime itself.
"""

from __future__ import annotations

from onnxbuild.report.card.compiled_snippets import compiled_snippet, library_of_compiled
from onnxbuild.report.card.snippets import (
    CONTEXT,
    QUESTION,
    SENTENCES,
    VECTORS,
    Snippet,
    example_of,
    graph_of,
    has_text,
    is_in_parts,
    is_one_graph,
    literal,
    returns_vectors,
    row_of,
    takes_pairs,
)
from onnxbuild.report.card.subject import Folder

_PROVIDERS = 'providers=["CPUExecutionProvider"]'


def library_of(task: str, folder: Folder) -> str:
    """The library that the example loads the files with; empty if it is not known."""
    if folder.compiled is not None:
        return library_of_compiled(folder.compiled)
    return "optimum" if has_class(task, folder) else "onnxruntime"


def python_snippet(task: str, folder: Folder) -> Snippet:
    """The example for a task."""
    if folder.compiled is not None:
        return compiled_snippet(folder, folder.compiled)
    if returns_vectors(folder) and has_text(folder):
        return Snippet(install="pip install onnxruntime transformers", lines=_vectors(folder))
    if has_class(task, folder):
        lines = _tokens(task, folder) if example_of(task) == "tokens" else _pipeline(task, folder)
        return Snippet(install='pip install "optimum-onnx[onnxruntime]" transformers', lines=lines)
    return Snippet(
        install="pip install onnxruntime",
        lines=_session(folder),
        notes="It prints what the graph takes and returns.",
    )


def has_class(task: str, folder: Folder) -> bool:
    """Whether a class of optimum loads the folder and something turns text into its inputs."""
    row = row_of(task)
    fits = is_one_graph(folder) or (task.startswith("text2text") and is_in_parts(folder))
    known = row is not None and row.optimum and (row.pipeline or _returns(folder, "last_hidden_state"))
    return bool(known) and fits and has_text(folder) and not returns_vectors(folder)


def _returns(folder: Folder, output: str) -> bool:
    return output in folder.graphs[graph_of(folder)].outputs


def _vectors(folder: Folder) -> str:
    texts = ", ".join(map(literal, SENTENCES))
    return f"""
from onnxruntime import InferenceSession
from transformers import AutoTokenizer

folder = {literal(folder.name)}
tokenizer = AutoTokenizer.from_pretrained(folder)
session = InferenceSession(f"{{folder}}/model.onnx", {_PROVIDERS})
names = {{one.name for one in session.get_inputs()}}

texts = [{texts}]
encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
feeds = {{name: array for name, array in encoded.items() if name in names}}
(vectors,) = session.run([{literal(VECTORS)}], feeds)
print(vectors.shape)
""".strip()


def _tokens(task: str, folder: Folder) -> str:
    texts = ", ".join(map(literal, SENTENCES))
    return f"""
{_imports(task)}

folder = {literal(folder.name)}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {_class_of(task)}.from_pretrained(folder, provider="CPUExecutionProvider")

texts = [{texts}]
outputs = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))
print(outputs.last_hidden_state.shape)  # one vector for each token
""".strip()


def _pipeline(task: str, folder: Folder) -> str:
    row = row_of(task)
    assert row is not None, "BUG: a class was found without a row"
    lines = [
        _imports(task, ", pipeline"),
        "",
        f"folder = {literal(folder.name)}",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f'model = {_class_of(task)}.from_pretrained(folder, provider="CPUExecutionProvider")',
        f"run = pipeline({literal(row.pipeline or '')}, model=model, tokenizer=tokenizer)",
        "",
        *_asked(task, folder),
    ]
    return "\n".join(lines)


def _asked(task: str, folder: Folder) -> list[str]:
    """The lines that feed the pipeline."""
    if example_of(task) == "question":
        return [f"print(run(question={literal(QUESTION)}, context={literal(CONTEXT)}))"]
    if example_of(task) == "gap":
        return ['print(run(f"The harbour is {tokenizer.mask_token} tonight."))']
    if takes_pairs(task, folder):
        pair = f'{{"text": {literal(QUESTION)}, "text_pair": {literal(CONTEXT)}}}'
        return [f'print(run({pair}, function_to_apply="sigmoid"))']
    more = ", max_new_tokens=20" if example_of(task) == "prompt" else ""
    return [f"print(run({literal(SENTENCES[0])}{more}))"]


def _imports(task: str, more: str = "") -> str:
    return f"from optimum.onnxruntime import {_class_of(task)}\nfrom transformers import AutoTokenizer{more}"


def _class_of(task: str) -> str:
    row = row_of(task)
    assert row is not None, "BUG: a class was found without a row"
    return row.optimum


def _session(folder: Folder) -> str:
    path = literal(f"{folder.name}/{graph_of(folder)}")
    return f"""
from onnxruntime import InferenceSession

session = InferenceSession({path}, {_PROVIDERS})
for value in (*session.get_inputs(), *session.get_outputs()):
    print(value.name, value.type, value.shape)
""".strip()
