"""What differs between the code of a module and that of a mutant, and patching it into a process that runs it."""

import gc
from types import CodeType, FunctionType


def changed(original: str, mutant: str) -> list[CodeType]:
    """The code objects of the original that the mutant changes: of a module, a class, a function or a lambda."""
    return [old for old, new in _pairs(*_compiled("", original, mutant)) if _own(old) != _own(new)]


def is_function(code: CodeType) -> bool:
    """Whether this is the code of a function. Code of a module or a class ran when the module was imported."""
    return bool(code.co_flags & 0x02)  # CO_NEWLOCALS: it runs in a namespace of its own at each call


def patch(path: str, original: str, mutant: str) -> None:
    """Change the code of every function of the module that exists now. ValueError if a function cannot be changed."""
    new = {old: new for old, new in _pairs(*_compiled(path, original, mutant)) if old != new}
    # Whatever wraps or holds a function, such as a property or a cache: the garbage collector knows it.
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename == path and one.__code__ in new:
            one.__code__ = new[one.__code__]


def _compiled(path, *texts):
    return (compile(text, path, "exec", dont_inherit=True) for text in texts)


def _pairs(old, new):
    """The code objects that stand at the same place in both."""
    yield old, new
    inner = [[one for one in code.co_consts if isinstance(one, CodeType)] for code in (old, new)]
    for pair in zip(*inner, strict=False):
        yield from _pairs(*pair)


def _own(code):
    """What a code object does by itself, without the functions inside it."""
    constants = [repr(one) for one in code.co_consts if not isinstance(one, CodeType)]
    inner = sum(isinstance(one, CodeType) for one in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants, inner
