"""The documentation agrees with the code: generated parts are current, commands parse, examples load, links resolve."""

import ast
import importlib.util
import itertools
import json
import re
import shlex

import doc_pages
import msgspec
import pytest
from doc_pages import DOCS, ROOT

from onnxbuild.cli import parser, run_command
from onnxbuild.manifest.load import load_manifest
from onnxbuild.steps import KINDS
from onnxbuild.steps.packaging.package_kind import CLIENT

PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
MANIFESTS = sorted((ROOT / "manifests").glob("*.yaml"))

_TEXT = re.compile(r"[^\s|#<`]")  # a line of a paragraph or of a list
_STARTS = re.compile(r"[-|#<`]|\d+\. ")  # what begins something new
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"""["'](OBE?\d{2,3})["']""")


def generator():
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language):
    return [block.text for block in doc_pages.blocks(path) if block.language == language]


def command_lines():
    """(page, line) of every shell line of the documentation."""
    return [
        (path.relative_to(ROOT).as_posix(), line.strip())
        for path in PAGES
        for block in blocks(path, "sh")
        for line in block.splitlines()
        if line.strip()
    ]


def own_arguments(line):
    """The arguments of an `onnxbuild` line, or None for a line of another program; redirections are the shell's."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if not words or words[0] != "onnxbuild":
        return None
    return words[1 : words.index(">")] if ">" in words else words[1:]


OWN = [(page, line) for page, line in command_lines() if own_arguments(line) is not None]


def test_generated_parts_are_fresh():
    assert generator().stale() == [], "run `make docs`"


def test_the_picture_of_the_quickstart_is_fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    line = re.search(r"onnxbuild (graph .*) --store \S+ (.*) --output (\S+)", read(ROOT / "Makefile"))
    drawn = tmp_path / "drawn.svg"
    shown = [*shlex.split(f"{line[1]} {line[2]}"), "--store", str(tmp_path / "store"), "--output", str(drawn)]
    assert run_command(shown) == 0
    assert read(drawn) == read(ROOT / line[3]), "run `make docs`"


def test_the_manifest_schema_is_fresh():
    from onnxbuild.commands.schema import schema_text

    assert read(ROOT / "schemas" / "manifest.schema.json") == schema_text(), "run `make schemas`"


@pytest.mark.parametrize(("page", "line"), OWN, ids=[f"{page}: {line}" for page, line in OWN])
def test_every_command_in_the_documentation_parses(page, line):
    options = parser().parse_args(own_arguments(line))
    named = getattr(options, "manifest", None) or ""
    if named.startswith("manifests/"):
        assert (ROOT / named).is_file(), f"{page} names {named}"


def test_there_are_commands_to_check():
    assert len(OWN) >= 15


def test_every_make_target_in_the_documentation_exists():
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    named = {shlex.split(line, comments=True)[1] for _, line in command_lines() if line.startswith("make ")}
    assert named >= {"demo", "test"}
    assert named - targets == set()


def test_every_command_and_option_has_its_place():
    page = read(DOCS / "reference" / "cli.md")
    for name, command in generator().subcommands(parser()).items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        options = {option for action in command._actions for option in action.option_strings} - {"-h", "--help"}
        assert {option for option in options if option not in section} == set(), name


def test_every_command_stands_in_the_readme():
    readme = read(ROOT / "README.md")
    assert [name for name in generator().subcommands(parser()) if f"onnxbuild {name}" not in readme] == []


def test_every_kind_and_param_has_its_place():
    pages = {name: read(DOCS / "reference" / f"{name}.md") for name in ("steps", "packages")}
    for kind in (one for one in KINDS.values() if not one.name.startswith(CLIENT)):  # its params are the package's
        page, title = (pages["packages"], kind.package) if kind.package else (pages["steps"], kind.name)
        section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
        settings = {f.encode_name for f in msgspec.structs.fields(kind.params)} - set(kind.params.DERIVED)
        assert {name for name in settings if f"| `{name}` |" not in section} == set(), kind.name


@pytest.mark.parametrize(
    ("block", "kinds"),
    [
        ("ModelBlock", ["export", "validate", "load", "benchmark", "generate", "tune"]),
        ("TargetBlock", ["optimize", "quantize", "precision", "validate", "load", "benchmark", "generate", "tune"]),
    ],
)
def test_a_block_lists_the_step_blocks_that_it_may_contain(block, kinds):
    section = read(DOCS / "reference" / "manifest.md").split(f"\n### {block}\n")[1].split("\n### ")[0]
    assert re.findall(r"^\| \[`(\w+)`\]\(steps\.md#\1\) \|", section, re.MULTILINE) == kinds


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_shows_no_entity(path):
    """A code span shows `&lt;` as it is written: its text must have the character itself."""
    spans = [span for line in prose(read(path)) for span in re.findall(r"`[^`]+`", line)]
    assert [span for span in spans if re.search(r"&(lt|gt|amp);", span)] == []


@pytest.mark.parametrize("page", ["steps.md", "manifest.md", "cli.md"])
def test_every_key_and_option_has_a_meaning(page):
    assert re.findall(r"^\| `.*\|\s*\|$", read(DOCS / "reference" / page), re.MULTILINE) == []


def test_every_code_has_its_place():
    page = read(DOCS / "reference" / "codes.md")
    assert "```sh\nonnxbuild run models.yaml --out .onnxbuild\n```" in page
    assert not re.search(r"```yaml\n(onnxbuild \w|\w+ = )", page)
    raised = {code for path in (ROOT / "onnxbuild").rglob("*.py") for code in _CODE.findall(read(path))}
    assert len(raised) > 50
    assert {code for code in raised if not re.search(rf"^## {code}\b", page, re.MULTILINE)} == set()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_example_loads(path):
    assert load_manifest(str(path), kinds=KINDS).models != ()


def test_every_manifest_in_the_documentation_loads(tmp_path):
    found = [(path, body) for path in PAGES for body in blocks(path, "yaml") if "onnxbuild: 1" in body]
    assert len(found) >= 3
    for number, (_, body) in enumerate(found):
        manifest = tmp_path / f"{number}.yaml"
        manifest.write_text(body, encoding="utf-8")
        assert load_manifest(str(manifest), kinds={**KINDS, "round": how_to_kind()}).models != ()


def how_to_kind():
    """The step kind that the how-to declares; tests/docs/test_how_tos.py installs and runs it."""
    scope = {}
    source = blocks(DOCS / "how-to" / "step-kind.md", "python")[0]
    exec(compile(source, "step-kind.md", "exec"), scope)
    return scope["ROUND"]


def test_the_readme_shows_the_quickstart_as_it_is():
    text = re.sub(r"^#.*\n", "", read(ROOT / "manifests" / "quickstart.yaml"), flags=re.MULTILINE)
    assert text in blocks(ROOT / "README.md", "yaml")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path):
    gone = [link for link in _LINK.findall(read(path)) if not (path.parent / link).exists()]
    assert gone == []


def test_every_source_file_that_a_page_names_exists():
    named = {
        (path.relative_to(ROOT).as_posix(), file)
        for path in PAGES
        for file in re.findall(
            r"(?<!config/)(?<!HOME/)\b(?:onnxbuild|tests|benchmarks|schemas|manifests)/[\w/.-]+\.\w+\b", read(path)
        )
    }
    assert len(named) > 20
    assert {(page, file) for page, file in named if not (ROOT / file).is_file()} == set()


def test_every_page_that_the_source_names_exists():
    named = {
        (path.name, page)
        for path in (ROOT / "onnxbuild").rglob("*.py")
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", read(path))
    }
    assert named != set()
    assert {(source, page) for source, page in named if not (ROOT / page).is_file()} == set()


def test_every_promise_names_tests_that_exist():
    page = read(DOCS / "explanation" / "trust.md")
    rows = re.findall(r"^\| (?!Promise \|)(.+) \| (.*) \|$", page, re.MULTILINE)
    promises = [promise for promise, _ in rows]
    assert len(rows) > 100
    assert sorted({promise for promise in promises if promises.count(promise) > 1}) == []
    named = {promise: re.findall(r"`(tests/[^`]+)`", tests) for promise, tests in rows}
    assert [promise for promise, tests in named.items() if not tests] == []
    assert sorted(name for tests in named.values() for name in tests if not is_test(name)) == []


def is_test(name):
    """Whether `tests/file.py::test` or `tests/file.py::Class::test` exists."""
    file, *parts = name.split("::")
    if not parts or not (ROOT / file).is_file():
        return False
    body = ast.parse(read(ROOT / file)).body
    for part in parts:
        node = next((node for node in body if getattr(node, "name", None) == part), None)
        if node is None:
            return False
        body = node.body
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")


def test_every_decision_is_listed():
    listed = read(DOCS / "decisions" / "README.md")
    pages = {path.name for path in (DOCS / "decisions").glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"({name})" not in listed} == set()


def test_the_step_kind_of_the_how_to_is_a_step_kind():
    params = how_to_kind().params
    assert msgspec.convert({"bits": 11}, params).bits == 11
    with pytest.raises(msgspec.ValidationError, match="Expected `int` <= 22"):
        msgspec.convert({"bits": 23}, params)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_paragraph_is_one_line(path):
    wrapped = [
        f"{first} / {second}"
        for first, second in itertools.pairwise(prose(read(path)))
        if _TEXT.match(first) and second[:1].strip() and not _STARTS.match(second)
    ]
    assert wrapped == []


def prose(text):
    """The lines of a page outside of code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()


def test_the_lock_file_pins_the_toolchains_of_the_example():
    text = read(ROOT / "manifests" / "onnxbuild.lock")
    assert "/" not in re.sub(r"hub:\S+", "", text), "neither a package index nor a path of a machine"
    locked = json.loads(text)["toolchains"]
    toolchains = load_manifest(str(ROOT / "manifests" / "two-generations.yaml"), kinds=KINDS).toolchains
    expected = {" ".join(sorted(toolchain.requirements)) for toolchain in toolchains.values()}
    assert {name.partition(": ")[2] for name in locked} == expected


def test_messages_are_in_the_order_of_the_alphabet(tmp_path, monkeypatch):
    generate = generator()
    for name, text in (("z.py", 'fault("OB777", "an apple")'), ("a.py", 'fault("OB777", f"a pear of {size}")')):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(generate, "PACKAGE", tmp_path)
    assert generate._messages() == {"OB777": ["a pear of <size>", "an apple"]}


def test_the_python_page_has_the_signatures():
    import inspect

    import onnxbuild

    page = read(DOCS / "reference" / "python.md")
    for name in ("load", "plan", "run"):
        shown = page.split(f"- `{name}(")[1].split(")`")[0].replace("\n", " ")
        parameters = inspect.signature(getattr(onnxbuild, name)).parameters
        assert re.findall(
            r"(\w+)(?:=|,|$)", shown.replace("=()", "=").replace("=None", "=").replace("=False", "=")
        ) == list(parameters)


def test_the_comments_are_the_generated_ones():
    data = ROOT / "manifests" / "data"
    spec = importlib.util.spec_from_file_location("make_comments", data / "make_comments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.lines() == read(data / "comments.jsonl")


def test_the_text_for_the_tokenizer_is_the_generated_one():
    data = ROOT / "manifests" / "data"
    spec = importlib.util.spec_from_file_location("make_harbour", data / "make_harbour.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.text() == read(data / "harbour.txt")
