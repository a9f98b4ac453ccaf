"""Manifests that are well-formed and odd: made from the schema, so that a new key is tried without being named here.

Each choice is taken from a `random.Random`. `BytesDice` takes them from bytes, so that a fuzzer can change one of them.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from damage import damaged

ROOT = Path(__file__).parents[2]
Files = Mapping[str, bytes]
Schema = Mapping[str, Any]

# What lies beside every manifest, so that its sources exist.
BESIDE: Files = {
    "model/config.json": b'{"model_type": "bert", "max_position_embeddings": 64}',
    "model/model.safetensors": b"weights",
    "model/tokenizer.json": b"{}",
    "graph/model.onnx": b"graph",
    "rows.jsonl": b'{"text": "hello", "label": 1}\n',
    "rows.csv": b"text,label\nhello,1\n",
    "code.py": b"def export(checkpoint, output, opset, task): ...\n",
}
_INCLUDED = ("more.yaml", "below/other.yaml")

# What a person would write for a key, by its name.
_USUAL: Mapping[str, Sequence[str]] = {
    "ModelBlock.source": ("random:bert", "random:gpt2", "local:model", "onnx:graph", "onnx:graph/model.onnx"),
    "ModelBlock.targets": ("t", "u", "v"),
    "ModelBlock.task": ("fill-mask", "text-generation-with-past", "feature-extraction", ""),
    "ModelBlock.toolchain": ("c", ""),
    "NamedTargetBlock.name": ("own", "mine", "other"),
    "DatasetBlock.source": ("file:rows.jsonl", "file:rows.csv"),
    "DatasetBlock.columns": ("text", "label"),
    "TokenizerBlock.text": ("file:rows.csv",),
    "RandomBlock.random": ("bert", "gpt2"),
    "ToolchainBlock.requirements": ("torch==2.13.0", "onnx", "a[b]>=1; python_version > '3'"),
    "ToolchainBlock.python": ("env/bin/python",),
    "StoreBlock.path": (".onnxbuild/store",),
    "StoreBlock.remote": ("s3://bucket/x",),
    "StoreBlock.sign": ("ci.key", ""),
    "include": _INCLUDED,
    "dataset": ("d", ""),
    "exporter": ("auto", "optimum", "code.py:export", "json:loads"),
}  # fmt: skip
_NAMES: Mapping[str, Sequence[str]] = {
    "models": ("m", "n", "m-2", "M"), "targets": ("t", "u", "v"), "datasets": ("d", "e"), "toolchains": ("c",),
    "thresholds": ("max_abs",), "vars": ("a", "b", "c", "d"), "matrix": ("x", "y"), "columns": ("text", "label"),
}  # fmt: skip
_WANTED = {"ModelBlock": {"source", "task", "targets"}, "ToolchainBlock": {"requirements"}}
_SELDOM = {
    "files",
    "sdist",
    "python",
    "sign",
    "trust",
    "provider",
    "options",
    "attention",
    "library",
}  # of few settings
_NOT_DEFAULTS = {"matrix", "source", "targets"}
_VARIABLES = ("${vars.a}", "${vars.b}", "${vars.c}", "${vars.d}", "${vars.d.text}", "${matrix.x}", "${matrix.y}")
_ODD_TEXTS = (
    "", " ", "é", "m/t", "a:b", "a b", "..", "/", "~", "on", "null", "1", "<<", "*", "[", "+", "\0", "\n", "\x1b[2J",
    "\u202e",     "\ufeff", "x" * 300, "hub:", "hub:a/b", "hub:a/b@" + "0" * 40,
    "local:.", "local:..", "local:/proc", "onnx:rows.csv",
    "package:json", "package:json.x", "random:", "file:", "file:m.yaml", "m.yaml", ".", "below", "missing.yaml",
    "${", "$${", "${}", "${vars}", "${vars.}", "${vars.a", "${vars.a.b.c}", "${ vars.a }", "${env.HOME}", "${matrix.}",
    "$${${vars.a}", "${vars.a}${vars.a}", "${x.y}",
)  # fmt: skip
_ODD_VALUES: Sequence[Any] = (
    None, True, False, 0, 1, -1, 2**63, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"), [], {}, [[]], [None],
    {"a": {}},
)  # fmt: skip


class BytesDice(random.Random):
    """Chance that follows some bytes; after their end, every choice is the first one."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._at = data, 0

    def random(self) -> float:
        return self.getrandbits(16) / (1 << 16)

    def getrandbits(self, k: int, /) -> int:
        count = (k + 7) // 8
        part = self._data[self._at : self._at + count].ljust(count, b"\0")
        self._at += count
        return int.from_bytes(part, "big") >> (8 * count - k)


@functools.cache
def schema() -> Schema:
    """The schema of the language."""
    loaded: Schema = json.loads((ROOT / "schemas" / "manifest.schema.json").read_text())
    return loaded


class OddManifest:
    """One manifest. `oddness`: the part of its values that is not what a person would write."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.oddness = dice.choice([0.0, 0.0, 0.01, 0.03, 0.1, 0.4])
        self._anchors = 0
        self._variables: dict[str, Any] = {}

    def files(self) -> Files:
        """Its files, `m.yaml` first. Some are damaged."""
        main = {"onnxbuild": 1, **self.table(schema(), "", {"models", "targets", "datasets", "toolchains"})}
        others = {name: {"vars": {name: self.anything()}} for name in _INCLUDED}
        if self.odd():
            others = {name: self.table(schema(), "") for name in _INCLUDED}
        if isinstance(main.setdefault("vars", {}), dict):
            main["vars"] |= self._variables
        return {name: self.file(table) for name, table in {"m.yaml": main, **others}.items()}

    def file(self, table: Mapping[str, Any]) -> bytes:
        """A mapping as YAML, damaged if anything may be odd."""
        data = self.text(table).encode("utf-8", "surrogatepass")
        return damaged(data, self.dice) if self.odd() else data

    def odd(self) -> bool:
        return self.dice.random() < self.oddness

    # -- values by the schema ---------------------------------------------------------------------------------------

    def value(self, of: Schema, place: str) -> Any:
        """A value for a part of the schema, or a reference to it; `place` is the name of its block and its key."""
        if self.odd():
            return self.anything()
        made = self.plain_value(of, place)
        if "." not in place or self.dice.random() > 0.03:
            return made
        name = f"v{len(self._variables)}"
        self._variables[name] = made
        return f"${{vars.{name}}}"

    def plain_value(self, of: Schema, place: str) -> Any:
        if "$ref" in of:
            return self.plain_value(schema()["$defs"][of["$ref"].rpartition("/")[2]], place)
        if "anyOf" in of:
            choices = [one for one in of["anyOf"] if not one.get("$ref", "").endswith("Interpolation")]
            return self.plain_value(self.dice.choice(choices), place) if choices else self.dice.choice(_VARIABLES)
        if "enum" in of:
            return self.dice.choice(of["enum"])
        made = {"object": self.table, "array": self.array, "string": self.string}.get(of.get("type", ""))
        return made(of, place) if made is not None else self.scalar(of)

    def scalar(self, of: Schema) -> Any:
        low = of.get("minimum", 0)
        numbers = {
            "integer": [max(low, 1), 8, 18, low],
            "number": [0.5, 1, 1e-3],
            "boolean": [False, True],
            "null": [None],
        }
        return self.dice.choice(numbers[of["type"]]) if "type" in of else self.anything(depth=1)

    def table(self, of: Schema, place: str, wanted: set[str] | None = None) -> dict[str, Any]:
        """A block with some of its keys, or a mapping with some names."""
        if place.endswith("matrix"):
            return self.matrix()
        block = of.get("title", "")
        wanted = wanted if wanted is not None else _WANTED.get(block, set())
        keys = [
            key for key in of.get("properties", {}) if self.is_written(key, {*wanted, *of.get("required", ())}, place)
        ]
        if "maxProperties" in of:
            keys = [self.dice.choice(list(of["properties"]))]
        made = {key: self.value(of["properties"][key], f"{block}.{key}" if place else key) for key in keys}
        inner = of.get("additionalProperties", "properties" not in of)
        if inner is not False:
            names = self.names(place)
            made |= {name: self.value(inner if isinstance(inner, dict) else {}, place) for name in names}
        if place == "models":
            return {self.model_name(name, block): block for name, block in made.items()}
        return made

    def is_written(self, key: str, wanted: set[str], place: str) -> bool:
        if (place == "defaults" and key in _NOT_DEFAULTS) or key in _SELDOM:
            return self.odd()
        return key in wanted or self.dice.random() < (0.12 if place else 0.5)

    def names(self, place: str) -> list[str]:
        pool = list(_NAMES.get(place.rpartition(".")[2], ("a", "b")))
        return [self.string({}, "") if self.odd() else name for name in pool[: self.dice.randint(1, len(pool))]]

    def model_name(self, name: str, block: Any) -> str:
        """With a matrix, the name has its axes."""
        matrix = block.get("matrix") if isinstance(block, dict) else None
        axes = matrix if isinstance(matrix, dict) else {}
        return name + "".join(f"-${{matrix.{axis}}}" for axis in axes if axis != "exclude" and not self.odd())

    def matrix(self) -> dict[str, Any]:
        values: Sequence[Any] = ["a", "b", 1, 2, 0.5, True, "random:gpt2", "t", {"z": 1}, [1]]
        made: dict[str, Any] = {
            name: [self.dice.choice(values[:4]) for _ in range(self.dice.randint(1, 3))]
            for name in self.names("matrix")
        }
        if self.dice.random() < 0.3:
            made["exclude"] = [{name: self.dice.choice(values)} for name in list(made)[:2]]
        return made

    def array(self, of: Schema, place: str) -> list[Any]:
        if "prefixItems" in of:
            return [self.value(one, place) for one in of["prefixItems"]]
        count = self.dice.randint(of.get("minItems", 1), of.get("maxItems", 3))
        made = [self.value(of.get("items", {}), place) for _ in range(count)]
        return made if self.odd() else [one for number, one in enumerate(made) if one not in made[:number]]

    def string(self, of: Schema, place: str) -> str:
        usual = _USUAL.get(place) or _USUAL.get(place.rpartition(".")[2]) or of.get("examples") or ("text", "hello")
        return str(self.dice.choice((*_ODD_TEXTS, *_VARIABLES) if self.odd() else usual))

    def anything(self, depth: int = 2) -> Any:
        """A value of any type."""
        what = self.dice.randrange(5 if depth else 3)
        if what == 3:
            return [self.anything(depth - 1) for _ in range(self.dice.randrange(3))]
        if what == 4:
            return {
                self.dice.choice((*_NAMES["vars"], "text")): self.anything(depth - 1)
                for _ in range(self.dice.randrange(3))
            }
        pool: Sequence[Any] = (("x", 1, "${vars.a}", "${vars.b}", "t"), _ODD_TEXTS, _ODD_VALUES)[
            what if self.oddness else 0
        ]
        return self.dice.choice(pool)

    # -- as text ------------------------------------------------------------------------------------------------------

    def text(self, table: Any) -> str:
        """As YAML in the flow style, with anchors, aliases, merge keys and tags."""
        if self.odd() and self._anchors:
            return f"*a{self.dice.randrange(self._anchors + 1)}"
        written = self._written(table)
        if not self.odd():
            return written
        if self.dice.random() < 0.3:
            return f"!!{self.dice.choice(['str', 'int', 'map', 'binary', 'x'])} {written}"
        self._anchors += 1
        return f"&a{self._anchors - 1} {written}"

    def _written(self, value: Any) -> str:
        if isinstance(value, dict):
            merged = [f'"<<": *a{self.dice.randrange(self._anchors)}'] if self._anchors and self.odd() else []
            return (
                "{"
                + ", ".join([*merged, *(f"{json.dumps(key)}: {self.text(one)}" for key, one in value.items())])
                + "}"
            )
        if isinstance(value, list):
            return "[" + ", ".join(map(self.text, value)) + "]"
        return json.dumps(value)


def odd_selector(dice: random.Random, names: Sequence[str]) -> str:
    """A selector of some of the names: itself, as a pattern, shortened, or with more signs than it may have."""
    model, _, rest = dice.choice(names).partition("/")
    target, _, kind = rest.partition(":")
    parts = [_pattern(dice, part) for part in (model, target, kind)]
    text = dice.choice(
        ["{0}", "{0}/{1}", "{0}/{1}:{2}", "{0}:{2}", ":{2}", "/{1}", "{0}/", "{0}:", "{0}/{1}/{2}:{2}:{2}"]
    )
    return dice.choice(["", "", "+", "++"]) + text.format(*parts) + dice.choice(["", "", "+", "++"])


def _pattern(dice: random.Random, part: str) -> str:
    at = dice.randrange(len(part) + 1)
    first, last = part[:at], part[at:]
    return dice.choice([
        part, part, "*", f"{first}*", f"*{last}", f"{first}?{last[1:]}", f"{first}[{last[:1]}]{last[1:]}",
        f"[!{first}]{last}", f"{first}**{last}", f"[{last}",
        f"{first}[]{last}", f"[z-a]{last}", f"[[:{first}:]]", f"[&&||~~--{first}]",
        part.upper(),
        dice.choice(_ODD_TEXTS), f"{'*a' * 50}{last}",
    ])  # fmt: skip
