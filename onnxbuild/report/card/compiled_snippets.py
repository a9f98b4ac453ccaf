"""How the files of a compiled variant are loaded in Python: by the runtime of its backend, with its properties."""

from __future__ import annotations

from onnxbuild.report.card.snippets import SENTENCES, Snippet, has_text, literal
from onnxbuild.report.card.subject import Folder
from onnxbuild.report.markdown_text import code, escaped
from onnxbuild.steps.compiling.compiled_record import CompiledRecord

_READ = """
folder = {folder}
with open(f"{{folder}}/compiled.json", encoding="utf-8") as file:
    record = json.load(file)
""".strip()

_OPENVINO = """
def opened(stage):
    with open(f"{folder}/{stage['file']}", "rb") as file:
        return Core().import_model(file.read(), record["device"], record["properties"])
"""

_ORT = """
def opened(stage):
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL  # the graph is optimized already
    return InferenceSession(f"{folder}/{stage['file']}", options, providers=["CPUExecutionProvider"])
"""

_TEXTS = f"""
tokenizer = AutoTokenizer.from_pretrained(folder)
encoded = tokenizer([{", ".join(map(literal, SENTENCES))}], padding=True, truncation=True, return_tensors="np")
"""

_RUN_OPENVINO = """
model = opened(record["stages"]["forward"])
taken = {name for port in model.inputs for name in port.names}
outputs = model({name: array for name, array in encoded.items() if name in taken})
for name in record["stages"]["forward"]["outputs"]:
    print(name, outputs[name].shape)
""".strip()

_RUN_ORT = """
session = opened(record["stages"]["forward"])
taken = {one.name for one in session.get_inputs()}
names = list(record["stages"]["forward"]["outputs"])
values = session.run(names, {name: array for name, array in encoded.items() if name in taken})
for name, value in zip(names, values):
    print(name, value.shape)
""".strip()

_OPEN = """
for name, stage in record["stages"].items():
    print(name, opened(stage))
"""

_PRINT = """
for name, stage in record["stages"].items():
    print(name, stage["file"], stage["inputs"], stage["outputs"])
print(record["properties"])
""".strip()


def compiled_snippet(folder: Folder, record: CompiledRecord) -> Snippet:
    """The example for a folder of a backend: it runs a text where there is a tokenizer and one stage."""
    runs = record.state == "compiled"
    if record.backend == "openvino" and runs:
        return _with(folder, record, "from openvino import Core", _OPENVINO, _RUN_OPENVINO, "openvino")
    if record.backend == "ort" and runs:
        names = "from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions"
        return _with(folder, record, names, _ORT, _RUN_ORT, "onnxruntime")
    lines = "\n\n".join(["import json", _READ.format(folder=literal(folder.name)), _PRINT])
    return Snippet(install="", lines=lines, notes=_notes(folder, record))


def library_of_compiled(record: CompiledRecord) -> str:
    """The library that loads the files of a backend."""
    return "openvino" if record.backend == "openvino" else "onnxruntime"


def _with(folder: Folder, record: CompiledRecord, imports: str, opened: str, run: str, package: str) -> Snippet:
    reads_text = has_text(folder) and record.stages.keys() == {"forward"}
    modules = [imports, *(["from transformers import AutoTokenizer"] if reads_text else [])]
    body = f"{_TEXTS}\n{run}" if reads_text else _OPEN
    head = "\n".join(["import json", "", *modules, "", _READ.format(folder=literal(folder.name))])
    version = (record.compiler.version or "").partition("-")[0]
    install = f"pip install {package}{f'=={version}' if version else ''}{' transformers' if reads_text else ''}"
    return Snippet(install=install, lines=f"{head}\n\n{opened}\n{body}", notes=_notes(folder, record))


def _notes(folder: Folder, record: CompiledRecord) -> str:
    """What a reader must know beside the example."""
    if record.state == "prepared":
        absent = code(record.needs or record.compiler.name)
        return f"It prints what is written: nothing is compiled, because {absent} was absent."
    given = ", ".join(code(f"{name}: {value}") for name, value in record.properties.items())
    script = " `open_with_provider.py` in the folder opens it." if folder.has("open_with_provider.py") else ""
    wrong = " Without them it computes in another precision, or NaN." if record.backend == "openvino" else ""
    loads = f"It is loaded with exactly these properties: {given}.{wrong}" if given else "It needs no properties."
    compiler = escaped(f"{record.compiler.name} {record.compiler.version or ''}".strip())
    return f"{loads} It was compiled by {compiler}, for {escaped(record.device)}.{script}"
