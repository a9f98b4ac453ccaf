"""Numbers of requests that must be whole, in the app of the package `server` and in `onnxbuild serve`."""

import msgspec
import pytest

from onnxbuild.serve.folder_server.server_answers import RefusedError, addresses_of
from onnxbuild.serve.web.request_bodies import Completions
from onnxbuild.serve.wire import About, Piece, Sampling


class Writer:
    """A model that notes what it is asked for."""

    about = About(abilities=("generate",), positions=9)

    def __init__(self):
        self.asked = []

    def pieces(self, prompt):
        self.asked.append(prompt.sampling)
        yield Piece(0, "text", ended="length", tokens=(1, 2))


@pytest.mark.parametrize("body", [
    {"max_tokens": 1.5}, {"max_tokens": True}, {"max_tokens": 0}, {"max_tokens": "7"}, {"max_tokens": None},
    {"seed": "x"}, {"seed": -1}, {"seed": 1.5}, {"seed": True}, {"seed": 1 << 63}, {"temperature": "hot"},
])  # fmt: skip
def test_the_app_refuses_what_is_no_whole_number(body):
    model = Writer()
    with pytest.raises(RefusedError, match=f"^`{next(iter(body))}` must be a "):
        addresses_of(model)["/v1/completions"](model, {"prompt": "a", **body})
    assert model.asked == []


def test_the_app_takes_whole_numbers():
    model = Writer()
    for body in ({"max_tokens": 3, "seed": 5, "temperature": 1}, {"seed": None}):
        addresses_of(model)["/v1/completions"](model, {"prompt": "a", **body})
    assert model.asked == [
        Sampling(max_tokens=3, whole=False, temperature=1, seed=5),
        Sampling(max_tokens=16, whole=False, temperature=0.0, seed=None),
    ]


@pytest.mark.parametrize("field", ["seed", "max_tokens"])
@pytest.mark.parametrize("value", ["1.5", "-1", "true", str(1 << 63), str(1 << 80)])
def test_the_server_refuses_numbers_that_are_not_whole_or_fit_into_no_frame(field, value):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"prompt": "a", "{field}": {value}}}', type=Completions)
    assert msgspec.json.decode(f'{{"prompt": "a", "{field}": 7}}', type=Completions)
