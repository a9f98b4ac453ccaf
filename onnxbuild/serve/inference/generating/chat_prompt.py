"""A conversation as the text that a model continues, rendered as transformers renders it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError

Messages = Sequence[Mapping[str, str]]

_FILE = "chat_template.jinja"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class ChatError(Exception):
    """The template refuses a conversation; the message says why."""


class _Generation(Extension):
    """`{% generation %}` marks what an assistant says, for training; it renders what it contains."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements between the marks."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def chat_prompt_of(folder: ModelFolder) -> Callable[[Messages], str] | None:
    """A function from messages to a prompt; None if the model has no chat template. Errors: UnusableModelError."""
    text = folder.text(_FILE) or _in_config(folder.tokens.get("chat_template"))
    if text is None:
        return None
    try:
        template = _environment().from_string(text)
    except TemplateError as error:
        raise UnusableModelError(f"the chat template cannot be read: {error}") from None
    special = {name: token for name in _SPECIAL if (token := folder.special(name)) is not None}
    return lambda messages: _rendered(template, messages, special)


def _in_config(found: Any) -> str | None:
    """The template in `tokenizer_config.json`, or the default one of several."""
    if isinstance(found, list):
        return next((one.get("template") for one in found if one.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _rendered(template: Template, messages: Messages, special: Mapping[str, str]) -> str:
    try:
        # A template may compare a value that is missing, so all of them have one, as in transformers.
        return template.render(
            messages=[dict(one) for one in messages],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **special,
        )
    except Exception as error:  # noqa: BLE001 - the template is a program of the model's author
        raise ChatError(f"the chat template refuses these messages: {error}") from None


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:  # noqa: FBT001, FBT002 - as in transformers
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
