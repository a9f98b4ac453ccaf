"""What the card of a package says first, for kinds that write no README: what it is, and how its client loads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from msgspec import Struct, structs

from onnxbuild.report.card.loading_sections import backend_sections, example
from onnxbuild.report.card.python_snippets import has_class, library_of, python_snippet
from onnxbuild.report.card.snippets import SENTENCES, Snippet, literal
from onnxbuild.report.card.subject import Folder, Subject
from onnxbuild.report.markdown_text import code, escaped

_COMPONENT = "component.json"

# The library that loads a package, for kinds that neither name it in a README nor show an example of it.
_LIBRARIES: Mapping[str, str] = {
    "genai": "onnxruntime-genai",
    "ort-model-package": "onnxruntime",
    "server": "onnxruntime",
    "triton": "onnxruntime",
    "ovms": "openvino",
}

_GENAI = f"""
import numpy as np
import onnxruntime_genai as genai

model = genai.Model(".")
tokenizer = genai.Tokenizer(model)
params = genai.GeneratorParams(model)
params.set_search_options(max_length=24, do_sample=False)
generator = genai.Generator(model, params)
generator.append_tokens(np.array(tokenizer.encode({literal(SENTENCES[0])}), dtype=np.int32))
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))
""".strip()

_ORT = """
import onnxruntime

package = onnxruntime.ModelPackageContext(".")
options = onnxruntime.SessionOptions()  # add a provider to select the variant for it
chosen = package.select_component({component}, onnxruntime.ModelPackageOptions(options))
session = chosen.create_session()
for value in (*session.get_inputs(), *session.get_outputs()):
    print(value.name, value.type, value.shape)
""".strip()


class Contents(Struct, frozen=True, kw_only=True):
    """What is in a package. `kind`: its name; `roles`: the target in each role.

    `whole`: all of its files; `inner`: the folder of each role, in packages that have one.
    """

    kind: str
    whole: Folder = Folder(name=".", files=())
    roles: Mapping[str, str] = {}
    inner: Mapping[str, Folder] = {}


def package_library(subject: Subject, contents: Contents) -> str:
    """The library that loads the package; empty if it is not known, as of a kind of a plugin."""
    if contents.kind == "plain":
        return library_of(subject.task, _first_of_plain(contents))
    if contents.kind == "compiled":
        return next((name for one in contents.inner.values() if (name := library_of(subject.task, one))), "")
    return _LIBRARIES.get(contents.kind, "")


def loading(subject: Subject, contents: Contents) -> Iterator[str]:
    """The paragraphs about loading it; none for a kind that is not known here."""
    found = list(_examples(subject, contents))
    if found:
        yield "## How to load it"
        yield "The examples run in the folder of this file."
        yield from found


def places(contents: Contents) -> Mapping[str, str]:
    """Where the graphs of each target are, as Markdown; none for kinds that have one target, or say it themselves."""
    found: dict[str, list[str]] = defaultdict(list)
    for role, target in contents.roles.items():
        found[target] += _places_of(role, contents)
    return {target: ", ".join(map(code, names)) for target, names in found.items() if names}


def _places_of(role: str, contents: Contents) -> list[str]:
    """The files or folders of a role."""
    if contents.kind == "compiled":
        return [f"{role}/"]
    if contents.kind == "plain":
        return _graphs_of(role, contents)
    return [f"{one}/{role}/" for one in _components(contents)] if contents.kind == "ort-model-package" else []


def _examples(subject: Subject, contents: Contents) -> Iterator[str]:
    if contents.kind == "plain":
        yield from _of_plain(subject, contents)
    elif contents.kind == "compiled":
        yield "The files of each backend are loaded by its own runtime."
        yield from backend_sections([*contents.inner.values()])
    elif contents.kind == "genai":
        note = (
            "`ORT_DISABLE_TELEMETRY=1` in the environment keeps official builds of the library from sending usage data."
        )
        yield from example("python", Snippet(install="pip install onnxruntime-genai", lines=_GENAI, notes=note))
    elif contents.kind == "ort-model-package":
        lines = _ORT.format(component=literal(next(iter(_components(contents)), "model")))
        yield from example("python", Snippet(install='pip install "onnxruntime>=1.32"', lines=lines))


def _components(contents: Contents) -> list[str]:
    """The components of a model package of ONNX Runtime."""
    names = (file.name.partition("/") for file in contents.whole.files)
    return [folder for folder, _, name in names if name == _COMPONENT]


# -- plain ------------------------------------------------------------------------------------------------------------


def _of_plain(subject: Subject, contents: Contents) -> Iterator[str]:
    first = _first_of_plain(contents)
    yield from example("python", python_snippet(subject.task, first))
    others = [(name, target) for role, target in contents.roles.items() if role for name in _graphs_of(role, contents)]
    if has_class(subject.task, first) and "" in contents.roles and others:
        listed = ", ".join(f"{code(f'file_name={literal(name)}')} for {escaped(target)}" for name, target in others)
        yield f"To load another target, pass its file to `from_pretrained`: {listed}."


def _first_of_plain(contents: Contents) -> Folder:
    """The package as if the graphs of its first role were alone in it."""
    names = _graphs_of("" if "" in contents.roles else next(iter(contents.roles), ""), contents)
    graphs = {name: outline for name, outline in contents.whole.graphs.items() if name in names}
    return structs.replace(contents.whole, graphs=graphs)


def _graphs_of(role: str, contents: Contents) -> list[str]:
    """The graphs in a role, which is the ending of their names."""
    others = tuple(f"_{one}.onnx" for one in contents.roles if one)
    names = contents.whole.graphs
    return [name for name in names if (name.endswith(f"_{role}.onnx") if role else not name.endswith(others))]
