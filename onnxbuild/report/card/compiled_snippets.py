"""How the files of a compiled variant are loaded in Python: by the runtime of its backend, with its properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

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

_PROVIDER = """
def opened(stage):
    providers = [(record["settings"]["provider"], record["properties"]), "CPUExecutionProvider"]
    return InferenceSession(f"{folder}/{stage['file']}", providers=providers)
"""

# A provider with a library of its own, which a process registers once.
_PLUGIN = """
provider = {provider}
register_execution_provider_library(provider, {module}.get_library_path())
devices = [one for one in get_ep_devices() if one.ep_name == provider][:1]


def opened(stage):
    options = SessionOptions()
    options.add_provider_for_devices(devices, {properties})
    return InferenceSession(f"{{folder}}/{{stage['file']}}", options)
"""

# What Efficient Transformers itself does with the program of a decoder.
_CLOUD_AI = """
from QEfficient.generation.text_generation_inference import cloud_ai_100_exec_kv
from transformers import AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
cloud_ai_100_exec_kv(tokenizer=tokenizer, qpc_path=f"{{folder}}/qpc", prompt=[{prompt}])
""".strip()

_TEXTS = """
tokenizer = AutoTokenizer.from_pretrained(folder)
encoded = tokenizer([{texts}], padding={padding}, truncation=True{length}, return_tensors="np")
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


class _Way(Struct, frozen=True, kw_only=True):
    """How the files of a backend are loaded: its imports, the function `opened`, and what runs a text."""

    imports: str
    opened: str
    run: str = _RUN_ORT


_QNN_PROPERTIES = '{**record["properties"], "backend_path": str(onnxruntime_qnn.get_qnn_htp_path())}'
_PLUGIN_IMPORTS = (
    "import {module}\n"
    "from onnxruntime import InferenceSession, SessionOptions, get_ep_devices, register_execution_provider_library"
)


def _plugin(provider: str, module: str, properties: str = 'record["properties"]') -> _Way:
    opened = _PLUGIN.format(provider=literal(provider), module=module, properties=properties)
    return _Way(imports=_PLUGIN_IMPORTS.format(module=module), opened=opened)


_WITH_PROVIDER = _Way(imports="from onnxruntime import InferenceSession", opened=_PROVIDER)
# The providers compile a graph when they load it, so what is only prepared is loaded in the same way.
_PROVIDERS: Mapping[str, _Way] = {
    "webgpu": _plugin("WebGpuExecutionProvider", "onnxruntime_ep_webgpu"),
    **dict.fromkeys(("tensorrt", "cuda", "coreml", "migraphx", "dml"), _WITH_PROVIDER),
}
_COMPILED: Mapping[str, _Way] = {
    "openvino": _Way(imports="from openvino import Core", opened=_OPENVINO, run=_RUN_OPENVINO),
    "ort": _Way(
        imports="from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions", opened=_ORT
    ),
    "qnn": _plugin("QNNExecutionProvider", "onnxruntime_qnn", _QNN_PROPERTIES),
}
# The library that loads the files of a backend; the others are providers of ONNX Runtime.
_LIBRARIES: Mapping[str, str] = {
    "openvino": "openvino",
    "qaic": "QEfficient",
    **dict.fromkeys(("ort", "qnn", *_PROVIDERS), "onnxruntime"),
}


def compiled_snippet(folder: Folder, record: CompiledRecord) -> Snippet:
    """The example for a folder of a backend: it runs a text where there is a tokenizer and one stage."""
    way = _PROVIDERS.get(record.backend) or (_COMPILED.get(record.backend) if record.state == "compiled" else None)
    notes = " ".join(_notes(folder, record))
    if way is not None:
        return _with(folder, record, way, notes)
    if record.backend == "qaic" and record.state == "compiled" and record.settings.get("decodes") and has_text(folder):
        lines = _CLOUD_AI.format(folder=literal(folder.name), prompt=literal(SENTENCES[0]))
        return Snippet(install="", lines=lines, notes=notes)
    lines = "\n\n".join(["import json", _READ.format(folder=literal(folder.name)), _PRINT])
    return Snippet(install="", lines=lines, notes=notes)


def library_of_compiled(record: CompiledRecord) -> str:
    """The library that loads the files of a backend; empty for a backend of a plugin."""
    return _LIBRARIES.get(record.backend, "")


def _with(folder: Folder, record: CompiledRecord, way: _Way, notes: str) -> Snippet:
    texts = _texts(folder, record)
    modules = [way.imports, *(["from transformers import AutoTokenizer"] if texts else [])]
    body = f"{texts}\n{way.run}" if texts else _OPEN
    head = "\n".join(["import json", "", *modules, "", _READ.format(folder=literal(folder.name))])
    lines = f"{head}\n\n{way.opened}\n{body}"
    return Snippet(install=_install(record, reads_text=bool(texts)), lines=lines, notes=notes)


def _install(record: CompiledRecord, *, reads_text: bool) -> str:
    """What runs the files, in the version that has compiled them: another one refuses them or computes otherwise."""
    version = (record.compiler.version or "").partition("-")[0]
    pinned = f"{record.compiler.name}=={version}" if version else record.compiler.name
    return f"pip install {pinned}{' transformers' if reads_text else ''}"


# -- a text in the shape that the files take --------------------------------------------------------------------------


def _texts(folder: Folder, record: CompiledRecord) -> str:
    """The lines that make inputs of texts; empty where the files read none, or more texts at once than there are."""
    if not has_text(folder) or record.stages.keys() != {"forward"}:
        return ""
    ids = record.stages["forward"].inputs.get("input_ids")
    if ids is None:
        return ""
    rows, tokens = [_size(axis, record) for axis in (*ids.shape, "", "")][:2]
    if rows is not None and rows > len(SENTENCES):
        return ""
    return _TEXTS.format(
        texts=", ".join(map(literal, SENTENCES[:rows])),
        padding="True" if tokens is None else '"max_length"',
        length="" if tokens is None else f", max_length={tokens}",
    )


def _size(axis: int | str, record: CompiledRecord) -> int | None:
    """The only size of an axis; None where several are taken."""
    if isinstance(axis, int):
        return axis
    stated = record.settings.get("sizes", {}).get(axis, record.settings.get("bounds", {}).get(axis))
    return int(stated) if str(stated).isdecimal() else None


# -- what to know beside it -------------------------------------------------------------------------------------------


def _notes(folder: Folder, record: CompiledRecord) -> Iterator[str]:
    """What a reader must know beside the example."""
    is_prepared = record.state == "prepared"
    if is_prepared:
        absent = code(record.needs or record.compiler.name)
        if record.backend not in _PROVIDERS:
            yield f"It prints what is written: nothing is compiled, because {absent} was absent."
            yield from _how_to_compile(folder)
            return
        yield f"{absent} was absent where this was written, so the files were not loaded there."
    given = ", ".join(code(f"{name}: {value}") for name, value in record.properties.items())
    wrong = " Without them it computes in another precision, or NaN." if record.backend == "openvino" else ""
    yield f"It is loaded with exactly these properties: {given}.{wrong}" if given else "It needs no properties."
    if not is_prepared:
        compiler = escaped(f"{record.compiler.name} {record.compiler.version or ''}".strip())
        yield f"It was compiled by {compiler}, for {escaped(record.device)}."
    if folder.has("open_with_provider.py"):
        yield "`open_with_provider.py` in the folder opens it, and shows what the provider computes."


def _how_to_compile(folder: Folder) -> Iterator[str]:
    if folder.has("compile.sh"):
        yield "`sh compile.sh` in the folder compiles it where the compiler is installed."
