"""What can be set of an ONNX Runtime session on a CPU without changing its outputs, and the values that are tried.

`docs/how-to/tune.md` says what each setting does. Settings that a session shares with its process, such as a global
thread pool, are not here; neither are those that compute something else, such as the approximation of GELU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

SESSION_FILE = "session.json"  # in the folder of a variant

Name = Literal[
    "threads", "graph_level", "spinning", "execution", "memory_arena", "memory_pattern", "denormals", "block_base",
    "device_allocator",
]  # fmt: skip
Values = Mapping[Name, str]  # what differs from ONNX Runtime's defaults


class Value(Struct, frozen=True):
    """How a value is set: attributes of `SessionOptions` with their numbers, and config entries."""

    options: Mapping[str, Any] = {}
    entries: Mapping[str, str] = {}


class Setting(Struct, frozen=True, kw_only=True):
    """One setting: its default in words, and the other values. `of_threads`: it does nothing with one thread."""

    meaning: str
    default: str
    values: Mapping[str, Value]
    of_threads: bool = False


# In the order in which they are tried: what changes most comes first.
SETTINGS: Mapping[Name, Setting] = {
    "threads": Setting(
        meaning="threads that compute one operator together",
        default="one for each physical core",
        values={},  # the numbers of threads, which depend on the machine
    ),
    "graph_level": Setting(
        meaning="how far ONNX Runtime rewrites the graph when it loads it",
        default="all",
        values={
            "extended": Value({"graph_optimization_level": 2}),
            "basic": Value({"graph_optimization_level": 1}),
            "off": Value({"graph_optimization_level": 0}),
        },
    ),
    "spinning": Setting(
        meaning="whether threads wait for work in a busy loop",
        default="on",
        values={"off": Value(entries={"session.intra_op.allow_spinning": "0"})},
        of_threads=True,
    ),
    "execution": Setting(
        meaning="whether independent nodes run at the same time",
        default="sequential",
        values={"parallel": Value({"execution_mode": 1, "inter_op_num_threads": 2})},
        of_threads=True,
    ),
    "memory_arena": Setting(
        meaning="whether memory is kept from one run to the next",
        default="on",
        values={"off": Value({"enable_cpu_mem_arena": False})},
    ),
    "memory_pattern": Setting(
        meaning="whether the memory of a run is planned from the run before",
        default="on",
        values={"off": Value({"enable_mem_pattern": False})},
    ),
    "denormals": Setting(
        meaning="whether numbers near zero that have a slow form are kept",
        default="kept",
        values={"zero": Value(entries={"session.set_denormal_as_zero": "1"})},
    ),
    "block_base": Setting(
        meaning="into how many blocks per thread the work of an operator is cut",
        default="one",
        values={"4": Value(entries={"session.dynamic_block_base": "4"})},
        of_threads=True,
    ),
    "device_allocator": Setting(
        meaning="where weights lie in memory: in the arena, or by themselves",
        default="arena",
        values={"weights": Value(entries={"session.use_device_allocator_for_initializers": "1"})},
    ),
}


def value_of(name: Name, value: str) -> Value:
    """How a value is set."""
    if name == "threads":
        return Value({"intra_op_num_threads": int(value)})
    return SETTINGS[name].values[value]


def as_session(values: Values) -> tuple[dict[str, Any], dict[str, str]]:
    """The attributes of `SessionOptions` and the config entries of some values together."""
    options: dict[str, Any] = {}
    entries: dict[str, str] = {}
    for name, value in values.items():
        one = value_of(name, value)
        options |= one.options
        entries |= one.entries
    return options, entries


def in_words(values: Values) -> str:
    """`threads 1, spinning off`; `the defaults` if there are no values."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items()) or "the defaults"


def thread_counts(cores: int, physical: int | None = None) -> tuple[int, ...]:
    """The numbers of threads to try: powers of two below the number of cores, the physical ones, and all of them."""
    powers = (1 << power for power in range(cores.bit_length()))
    own = () if physical is None else (min(physical, cores),)
    return tuple(sorted({*(one for one in powers if one < cores), *own, cores}))
