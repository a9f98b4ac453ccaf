"""Decoders with a cache: a prompt becomes tokens, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from onnxbuild.serve.inference.compiled_session import opened_session
from onnxbuild.serve.inference.generating.chat_prompt import ChatError, chat_prompt_of
from onnxbuild.serve.inference.generating.past import PastOfGraph, present_of
from onnxbuild.serve.inference.generating.sampling import Sampler
from onnxbuild.serve.inference.generating.text_of_tokens import TextOfTokens
from onnxbuild.serve.inference.model_folder import ModelFolder
from onnxbuild.serve.wire import About, Ended, Piece, Prompt, Refusal


class RefusedPromptError(Exception):
    """A prompt that this model cannot continue; the message says why."""


class DecoderModel:
    """One decoder with its tokenizer. Errors: UnusableModelError if the folder cannot be served."""

    def __init__(self, folder: ModelFolder, threads: int | None) -> None:
        self._defaults = folder.generation
        self._session = opened_session(folder, threads)
        self._past = PastOfGraph(self._session)
        self._tokenizer = folder.tokenizer()
        self._chat = chat_prompt_of(folder)
        self._ends = _ends_of(folder)
        positions = folder.positions()
        self.about = About(abilities=("generate",), positions=positions, has_chat=self._chat is not None)

    def pieces(self, prompt: Prompt) -> Iterator[Piece | Refusal]:
        """The text of a completion as it comes; each step computes one token."""
        try:
            tokens = self._tokens(prompt)
            room = self._room(len(tokens), prompt)
        except (RefusedPromptError, ChatError) as error:
            yield Refusal(prompt.id, str(error))
            return
        text = TextOfTokens(self._tokenizer, prompt.sampling.stop)
        count, ended = 0, "length"
        for token in self._steps(tokens, room, prompt):
            count += 1
            if token in self._ends:
                ended = "stop"
                break
            released = text.add(token)
            if text.stopped:
                yield Piece(prompt.id, released, "stop", (len(tokens), count))
                return
            yield Piece(prompt.id, released)
        rest = text.end()
        yield Piece(prompt.id, rest, _ended(ended, text), (len(tokens), count))

    def _tokens(self, prompt: Prompt) -> list[int]:
        if prompt.messages:
            if self._chat is None:
                raise RefusedPromptError("the model has no chat template: send a prompt to /v1/completions")
            tokens: list[int] = self._tokenizer.encode(self._chat(prompt.messages), add_special_tokens=False).ids
        else:
            tokens = self._tokenizer.encode(prompt.text).ids
        if not tokens:
            raise RefusedPromptError("the prompt has no tokens")
        return tokens

    def _room(self, length: int, prompt: Prompt) -> int:
        """How many tokens may follow. Errors: RefusedPromptError if the request wants more."""
        room = self.about.positions - length
        wanted = prompt.sampling.max_tokens
        if room < 1 or (prompt.sampling.whole and wanted > room):
            asked = f" and {wanted} more are asked for" if room >= 1 else ""
            message = f"the model has {self.about.positions} positions; the prompt has {length} tokens{asked}"
            raise RefusedPromptError(message)
        return min(room, wanted)

    def _steps(self, tokens: list[int], room: int, prompt: Prompt) -> Iterator[int]:
        """Up to `room` tokens, each computed when it is asked for."""
        sampler = Sampler(prompt.sampling, self._defaults)
        past, new, seen = self._past.empty(), tokens, list(tokens)
        for _ in range(room):
            logits, past = self._run(new, len(seen), past)
            token = sampler.choose(logits, seen)
            yield token
            new = [token]
            seen.append(token)

    def _run(
        self, new: list[int], length: int, past: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The logits behind the last token, and the cache with it."""
        values: dict[str, Any] = {
            "input_ids": [new],
            "attention_mask": [[1] * length],
            "position_ids": [range(length - len(new), length)],
        }
        feeds = {
            name: np.asarray(value, dtype=self._session.type_of(name))
            for name, value in values.items()
            if name in self._session.inputs
        }
        logits, *present = self._session.run(self._past.outputs, {**feeds, **past})
        by_name = dict(zip(self._past.outputs[1:], present, strict=True))
        return logits[0, -1], {name: by_name[present_of(name)] for name in self._past.names}


def _ended(ended: str, text: TextOfTokens) -> Ended:
    return "stop" if ended == "stop" or text.stopped else "length"


def _ends_of(folder: ModelFolder) -> frozenset[int]:
    """The tokens that end a text."""
    found = folder.generation.get("eos_token_id", folder.config.get("eos_token_id"))
    return frozenset(found if isinstance(found, list) else [found])
