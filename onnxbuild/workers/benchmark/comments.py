"""Generated comments, as people write them below a post: most are short, one in six is longer than 200 characters.

They stand in for the comments of go_emotions and of similar sets, whose texts are not ours to deliver. Only the
lengths and the kind of words matter to a throughput. `manifests/data/make_comments.py` writes them to a file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

_WORDS = {
    "who": "my sister|this guy|the coach|everyone in here|some stranger|my old boss|the driver|our neighbour|OP|"
    "the lady at the desk|half the team|literally nobody",
    "thing": "the ending|that second goal|this recipe|the new update|my train ticket|the dog in the back|that speech|"
    "the whole thread|season two|this jacket|the refund|a cold pizza",
    "did": "forgot|ruined|saved|explained|deleted|loved|ignored|paid for|waited for|laughed at|complained about|shared",
    "felt": "so happy for you|really annoyed|kind of confused|proud of this community|a bit scared|sorry for them|"
    "grateful for all of it|bored to tears|surprised in a good way|ashamed of my team|relieved|curious now",
    "open": "Wow|Lol|Honestly|Not gonna lie|Thanks|Oh no|Yeah|Sorry|Wait|Congrats|Hmm|Well",
    "when": "yesterday|all week|since 2019|at 3 in the morning|every single time|before the break|for once|tonight",
    "why": "because it was free|and I have no idea why|which is the worst part|but that is just me|"
    "so please do not do that again|and it made my day|if that makes sense|even though I said no",
    "end": ".|.|.|!|!!|...|?|, lol.| :)|",
}
_PATTERNS = (
    "{open}, {who} {did} {thing} {when}{end}",
    "I am {felt}{end}",
    "{who} {did} {thing} {why}{end}",
    "{open}! {thing} was not what I expected {when}{end}",
    "Does anyone know why {who} {did} {thing}?",
    "I was {felt} when {who} {did} {thing} {why}{end}",
    "{thing}, {thing} and {thing}: pick one{end}",
    "{open}, I {did} {thing} too {why}{end}",
    "no way{end}",
    "You {did} {thing}{end}",
)


def comments(count: int, seed: int = 0, *, longer_than: int = 0) -> Iterator[str]:
    """`count` comments with more than `longer_than` characters; the same ones every time."""
    rng = random.Random(seed)  # noqa: S311 - texts that are the same every time, not a secret
    found = 0
    while found < count:
        text = _comment(rng)
        while longer_than >= len(text):
            text = f"{text} {_comment(rng)}"
        found += 1
        yield text


def _comment(rng: random.Random) -> str:
    """Sentences up to a length whose logarithm is normally distributed, as that of comments is: 70 in the median."""
    wanted = min(1500, rng.lognormvariate(4.25, 1.0))
    text = _sentence(rng)
    while len(text) < wanted:
        text = f"{text} {_sentence(rng)}"
    return text


def _sentence(rng: random.Random) -> str:
    text = rng.choice(_PATTERNS)
    while (start := text.find("{")) >= 0:
        end = text.index("}", start)
        text = text[:start] + rng.choice(_WORDS[text[start + 1 : end]].split("|")) + text[end + 1 :]
    return text
