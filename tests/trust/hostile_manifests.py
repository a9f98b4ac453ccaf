# ruff: noqa: E501 - one case per line
"""Manifests that are made to take long or to fill the memory: each is refused, or read, within a budget."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

Files = Mapping[str, str]

HEAD = "onnxbuild: 1\n"
MODEL = "models: {m: {source: 'random:bert', task: fill-mask, targets: [t]}}\n"
TARGET = "targets: {t: {}}\n"
BASE = HEAD + TARGET + MODEL
MEGABYTE = 1_000_000


def _laughs(levels: int, width: int) -> str:
    """Aliases of aliases."""
    lines = ["  a0: &a0 [1]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return BASE + "vars:\n" + "\n".join(lines) + "\n"


def _models(count: int, block: str) -> str:
    return HEAD + TARGET + "models:\n" + "".join(f"  m{n}: {block}\n" for n in range(count))


def _matrix(axes: int, values: int, name: str = "m") -> str:
    words = "".join(f"-${{matrix.x{n}}}" for n in range(axes))
    lines = "".join(f"      x{n}: [{', '.join(map(str, range(values)))}]\n" for n in range(axes))
    return f"  '{name}{words}':\n    source: 'random:bert'\n    task: fill-mask\n    targets: [t]\n    matrix:\n{lines}"


def _many_matrices(count: int) -> str:
    """Each within the bound of one matrix."""
    return HEAD + TARGET + "models:\n" + "".join(_matrix(4, 10, f"m{n}") for n in range(count))


def _matrix_with_exclusions(count: int) -> str:
    excluded = ", ".join(f"{{x0: {n}, x1: {n}}}" for n in range(count))
    return HEAD + TARGET + "models:\n" + _matrix(4, 10) + f"      exclude: [{excluded}]\n"


def _matrix_of_blocks() -> str:
    """10,000 models, each with a large block."""
    thresholds = ", ".join(f"k{n}: '${{matrix.x0}}'" for n in range(200))
    return HEAD + TARGET + "models:\n" + _matrix(4, 10) + f"    validate: {{thresholds: {{{thresholds}}}}}\n"


def _includes(depth: int, width: int) -> Files:
    """Files that include files, so that the same are named many times."""
    files = {"m.yaml": BASE + "include: [i0.yaml]\n"}
    for level in range(depth):
        names = ", ".join([f"i{level + 1}.yaml"] * width)
        files[f"i{level}.yaml"] = f"include: [{names}]\n" if level + 1 < depth else "vars: {a: 1}\n"
    return files


def _wide_includes(count: int) -> Files:
    files = {"m.yaml": BASE + f"include: [{', '.join(f'i{n}.yaml' for n in range(count))}]\n"}
    return files | {f"i{n}.yaml": f"vars: {{a{n}: 1}}\n" for n in range(count)}


def _large_includes(count: int, size: int) -> Files:
    """Each within the bound of one file."""
    files = {"m.yaml": BASE + f"include: [{', '.join(f'i{n}.yaml' for n in range(count))}]\n"}
    return files | {f"i{n}.yaml": f"vars: {{a{n}: '{'x' * size}'}}\n" for n in range(count)}


def _doubled_variables(count: int) -> str:
    """Each variable is twice the one before."""
    lines = ["  v0: 'xxxxxxxxxx'"] + [f"  v{n}: '${{vars.v{n - 1}}}${{vars.v{n - 1}}}'" for n in range(1, count)]
    return BASE + "vars:\n" + "\n".join(lines) + "\n"


def _nested_variables(count: int, width: int) -> str:
    """A variable whose value is a list of the one before."""
    lines = ["  v0: [1]"]
    lines += [f"  v{n}: [{', '.join([f'${{vars.v{n - 1}}}'] * width)}]".replace("${", "'${").replace("}", "}'")
              for n in range(1, count)]  # fmt: skip
    used = f"models: {{m: {{source: {{random: bert, config: {{x: '${{vars.v{count - 1}}}'}}}}, targets: [t]}}}}\n"
    return HEAD + TARGET + "vars:\n" + "\n".join(lines) + "\n" + used


def _targets(count: int, models: int) -> str:
    """Every model builds every target."""
    lines = ["targets:"] + [f"  t{n}: {{optimize: O1}}" for n in range(count)]
    names = ", ".join(f"t{n}" for n in range(count))
    lines += ["models:"]
    lines += [f"  m{n}: {{source: 'random:bert', task: fill-mask, targets: &t [{names}]}}" if n == 0 else
              f"  m{n}: {{source: 'random:bert', task: fill-mask, targets: *t}}" for n in range(models)]  # fmt: skip
    return HEAD + "\n".join(lines) + "\n"


def _steps(count: int) -> str:
    steps = "".join("      - optimize: O1\n" for _ in range(count))
    return HEAD + "targets:\n  t:\n    steps:\n" + steps + MODEL


def _one(text: str) -> Files:
    return {"m.yaml": text}


CASES: Mapping[str, Callable[[], Files]] = {
    "laughs-9x10": lambda: _one(_laughs(9, 10)),
    "laughs-16x2": lambda: _one(_laughs(16, 2)),
    "laughs-in-a-model": lambda: _one(_laughs(6, 8).replace("targets: [t]}", "targets: [t], validate: {thresholds: *a5}}")),
    "merge-keys": lambda: _one(BASE + "vars:\n  a: &a {x: 1}\n" + "".join(f"  b{n}: {{<<: *a}}\n" for n in range(50_000))),
    "merge-keys-nested": lambda: _one(
        BASE + "vars:\n  a0: &a0 {x: 1}\n" + "".join(f"  a{n}: &a{n} {{<<: *a{n - 1}, y{n}: 1}}\n" for n in range(1, 5000))
    ),
    "matrix-8x10": lambda: _one(HEAD + TARGET + "models:\n" + _matrix(8, 10)),
    "matrix-4x10": lambda: _one(HEAD + TARGET + "models:\n" + _matrix(4, 10)),
    "matrices-20": lambda: _one(_many_matrices(20)),
    "matrices-500": lambda: _one(_many_matrices(500)),
    "matrix-exclusions": lambda: _one(_matrix_with_exclusions(20_000)),
    "matrix-blocks": lambda: _one(_matrix_of_blocks()),
    "matrix-one-name": lambda: _one(HEAD + TARGET + "models:\n" + _matrix(4, 10).replace("-${matrix.x0}", "")),
    "includes-deep": lambda: _includes(1500, 1),
    "includes-tree": lambda: _includes(40, 500),
    "includes-wide": lambda: _wide_includes(3000),
    "includes-large": lambda: _large_includes(4, 7 * MEGABYTE),
    "list-of-a-million": lambda: _one(BASE + "vars: {a: [" + "1, " * MEGABYTE + "1]}\n"),
    "list-of-rows": lambda: _one(BASE + "datasets: {d: {source: [" + "{a: 1}, " * 500_000 + "{a: 1}]}}\n"),
    "list-of-empty": lambda: _one(BASE + "vars: {a: [" + "{}," * 1_300_000 + "{}]}\n"),
    "list-of-strings": lambda: _one(BASE + "vars: {a: [" + "a," * 3_900_000 + "a]}\n"),
    "table-of-a-million": lambda: _one(BASE + "vars:\n" + "".join(f"  k{n}: 1\n" for n in range(600_000))),
    "unknown-keys": lambda: _one(BASE + "".join(f"k{n}: 1\n" for n in range(300_000))),
    "wrong-models": lambda: _one(_models(60_000, "1")),
    "wrong-models-mapping": lambda: _one(_models(60_000, "{sourc: 1, bad: [1], targets: 3}")),
    "unknown-targets": lambda: _one(_models(30_000, "{source: 'random:bert', task: fill-mask, targets: [u, v, w]}")),
    "unknown-references": lambda: _one(_models(30_000, "{source: '${vars.x}', task: '${vars.y}', targets: ['${env.Z}']}")),
    "undefined-aliases": lambda: _one(BASE + "vars: [" + "*a, " * 500_000 + "*a]\n"),
    "duplicate-keys": lambda: _one(BASE + "vars:\n" + "  a: 1\n" * 500_000),
    "tags": lambda: _one(BASE + "vars: [" + "!x 1, " * 500_000 + "1]\n"),
    "digits": lambda: _one(BASE + f"vars: {{a: {'9' * 100_000}}}\n"),
    "digits-many": lambda: _one(BASE + "vars: [" + f"{'9' * 399}, " * 20_000 + "1]\n"),
    "hexadecimal": lambda: _one(BASE + f"vars: {{a: 0x{'f' * 100_000}}}\n"),
    "float": lambda: _one(BASE + f"vars: {{a: 1.{'9' * MEGABYTE}e-5}}\n"),
    "dots": lambda: _one(BASE + f"vars: {{a: {'1.' * MEGABYTE}}}\n"),
    "underscores": lambda: _one(BASE + f"vars: {{a: {'1_' * MEGABYTE}}}\n"),
    "long-scalar": lambda: _one(BASE + f"vars: {{a: '{'x' * 8 * MEGABYTE}'}}\n"),
    "long-name": lambda: _one(HEAD + TARGET + f"models: {{'{'m' * 2 * MEGABYTE}': {{source: 'random:bert', targets: [t]}}}}\n"),
    "long-name-wrong": lambda: _one(HEAD + TARGET + f"models: {{'{'m-' * MEGABYTE}!': {{source: 'random:bert', targets: [t]}}}}\n"),
    "long-source": lambda: _one(HEAD + TARGET + f"models: {{m: {{source: 'hub:{'a/' * MEGABYTE}', targets: [t]}}}}\n"),
    "long-requirement": lambda: _one(BASE + f"toolchains: {{t: {{requirements: ['{'a' * 2 * MEGABYTE}==1']}}}}\n"),
    "long-requirement-dashes": lambda: _one(BASE + f"toolchains: {{t: {{requirements: ['{'a-.' * MEGABYTE}!']}}}}\n"),
    "long-pattern": lambda: _one(BASE + f"datasets: {{d: {{source: 'hub:a/b', files: '{'*a' * MEGABYTE}b'}}}}\n"),
    "braces": lambda: _one(BASE + f"vars: {{a: '{'${' * 2 * MEGABYTE}'}}\n"),
    "braces-escaped": lambda: _one(BASE + f"vars: {{a: '{'$${' * MEGABYTE}'}}\n"),
    "references": lambda: _one(BASE.replace("vars", "") + f"vars: {{x: {'y' * 1000}, a: '{'${vars.x}' * 500_000}'}}\n"),
    "variables-doubled": lambda: _one(_doubled_variables(40)),
    "variables-nested": lambda: _one(_nested_variables(30, 10)),
    "nested-lists": lambda: _one(BASE + "vars: {a: " + "[" * 4 * MEGABYTE + "}\n"),
    "nested-mappings": lambda: _one(BASE + "vars: {a: " + "{b: " * MEGABYTE + "}\n"),
    "nested-block": lambda: _one(BASE + "vars:\n" + "".join(" " * n + "a:\n" for n in range(1, 2500))),
    "indents": lambda: _one(BASE + "vars:\n" + " - " * 2 * MEGABYTE + "\n"),
    "question-marks": lambda: _one(BASE + "? " * 3 * MEGABYTE + "\n"),
    "anchors": lambda: _one(BASE + "vars: [" + "".join(f"&a{n} 1, " for n in range(300_000)) + "1]\n"),
    "comments": lambda: _one(BASE + "#\n" * 4 * MEGABYTE),
    "blank-lines": lambda: _one(BASE + "\n" * 8 * MEGABYTE),
    "newlines-unicode": lambda: _one(BASE + "# " + "\u2028" * 2 * MEGABYTE + "\nx: 1\n"),
    "too-large": lambda: _one(BASE + "#" * 20 * MEGABYTE),
    "targets-times-models": lambda: _one(_targets(1000, 1000)),
    "targets-times-few-models": lambda: _one(_targets(4000, 20)),
    "steps": lambda: _one(_steps(20_000)),
    "same-target": lambda: _one(HEAD + TARGET + f"models: {{m: {{source: 'random:bert', task: fill-mask, targets: [{'t, ' * 300_000}t]}}}}\n"),
    "toolchains": lambda: _one(BASE + "toolchains:\n" + "".join(f"  t{n}: {{requirements: [a==1]}}\n" for n in range(50_000))),
    "datasets": lambda: _one(BASE + "datasets:\n" + "".join(f"  d{n}: {{source: 'file:x{n}'}}\n" for n in range(50_000))),
    "local-sources": lambda: _one(_models(20_000, "{source: 'local:nowhere', task: fill-mask, targets: [t]}")),
    "shapes": lambda: _one(BASE.replace("targets: [t]}", f"targets: [t], validate: {{shapes: [{'[1, 8], ' * 100_000}[1, 8]]}}}}")),
}  # fmt: skip


def cases(names: list[str]) -> Iterator[tuple[str, Files]]:
    """The named cases, all without names."""
    yield from ((name, CASES[name]()) for name in names or itertools.chain(CASES))
