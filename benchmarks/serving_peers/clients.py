"""Many clients on loopback: each sends its next request when it has the answer to the last one.

`python clients.py PORT CLIENTS REQUESTS [REFERENCE]` prints JSON. REFERENCE is a file of vectors (`.npy`), one for each
of the texts that are taken in turn: every answer is compared with the vector of its text.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

TEXTS = 997  # a prime number, so that clients do not ask for the same texts at the same time
_SOURCE = Path(__file__).parents[2] / "manifests" / "data" / "harbour.txt"


def texts() -> list[str]:
    """Texts of 3 to 60 words, short ones more often, each with a number of its own."""
    words = _SOURCE.read_text(encoding="utf-8").split()
    lengths = [3 + (number * number * 7) % 58 * ((number % 5) + 1) // 5 for number in range(TEXTS)]
    starts = [(number * 31) % (len(words) - 64) for number in range(TEXTS)]
    return [
        f"{number} {' '.join(words[start : start + length])}"
        for number, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


class Load:
    """The clients, and what they saw."""

    def __init__(self, port: int, requests: int, check: Callable[[int, bytes], bool]) -> None:
        self._port, self._check = port, check
        self._numbers = iter(range(requests))
        self._texts = texts()
        self.seconds: list[float] = []
        self.wrong = 0

    async def run(self, clients: int) -> None:
        """Send every request."""
        await asyncio.gather(*(self._client() for _ in range(clients)))

    async def _client(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for number in self._numbers:
            which = number % TEXTS
            body = json.dumps({"input": self._texts[which]}).encode()
            head = "POST /v1/embeddings HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
            began = time.perf_counter()
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await self._answer(reader)
            self.seconds.append(time.perf_counter() - began)
            self.wrong += answer is None or not self._check(which, answer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes | None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(size)
        return body if head.startswith(b"http/1.1 200") else None


def checker(reference: str | None) -> Callable[[int, bytes], bool]:
    """Whether an answer is that of its text: the vector nearest to it, among those of all texts."""
    if reference is None:
        return lambda _which, answer: b"embedding" in answer
    import numpy as np

    vectors = np.load(reference)

    def check(which: int, answer: bytes) -> bool:
        vector = np.asarray(json.loads(answer)["data"][0]["embedding"], dtype=np.float32)
        return int(np.square(vectors - vector).sum(axis=1).argmin()) == which

    return check


def main(port: int, clients: int, requests: int, reference: str | None = None) -> None:
    """Send the requests and print what was measured."""
    load = Load(port, requests, checker(reference))
    began = time.perf_counter()
    asyncio.run(load.run(clients))
    wall = time.perf_counter() - began
    ordered = sorted(load.seconds)
    shown = {
        "answers": len(ordered),
        "wrong": load.wrong,
        "per_second": len(ordered) / wall,
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": 1e3 * ordered[int(len(ordered) * 0.99)],
    }
    print(json.dumps(shown))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:5])  # type: ignore[arg-type]
