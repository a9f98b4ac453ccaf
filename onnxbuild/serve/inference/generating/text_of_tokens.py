"""From tokens to text while they come: no half characters, and nothing from a stop text on."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

_HALF = "\ufffd"  # what half a character is decoded to


class TextOfTokens:
    """The text of one completion. `stopped`: a stop text was found, and what follows is dropped."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._tokens: list[int] = []
        self._shown, self._read = 0, 0  # tokens before `_shown` are only context; those before `_read` are text
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that one more token makes certain."""
        self._tokens.append(token)
        text = self._new_text()
        if text.endswith(_HALF):
            return ""
        self._shown, self._read = self._read, len(self._tokens)
        return self._released(text)

    def end(self) -> str:
        """What is left when no more tokens come."""
        text = self._released(self._new_text())
        held, self._held = self._held, ""
        return text + held

    def _new_text(self) -> str:
        """The text of the tokens that were not read yet: a tokenizer joins tokens by what stands before them."""
        before = self._decoded(self._tokens[self._shown : self._read])
        return self._decoded(self._tokens[self._shown :])[len(before) :]

    def _decoded(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def _released(self, text: str) -> str:
        """Text without what may become a stop text."""
        if self.stopped:
            return ""
        self._held += text
        places = [place for one in self._stop if (place := self._held.find(one)) >= 0]
        if places:
            self.stopped = True
            released, self._held = self._held[: min(places)], ""
            return released
        kept = max((_overlap(self._held, one) for one in self._stop), default=0)
        released, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return released


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop text."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
