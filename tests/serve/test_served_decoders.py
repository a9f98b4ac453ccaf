"""Completions and conversations, beside `generate` of transformers."""

import json
import logging

import pytest

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

PROMPT = "The boats in the harbour"


def complete(server, model, **body):
    answer = server.request("/v1/completions", {"model": model, "prompt": PROMPT, "temperature": 0, **body})
    assert answer.status == 200, answer.text
    return answer.json


@pytest.fixture(scope="module")
def generate(out):
    transformers = pytest.importorskip("transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    from optimum.onnxruntime import ORTModelForCausalLM

    def generate(name, prompt, tokens, *, special=True):
        folder = out / name / "fp32"
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = ORTModelForCausalLM.from_pretrained(folder, use_io_binding=False)
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=special, return_token_type_ids=False)
        made = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        new = made[0, inputs["input_ids"].shape[1] :]
        return tokenizer.decode(new, skip_special_tokens=True), len(new), inputs["input_ids"].shape[1]

    return generate


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_the_likeliest_tokens_are_those_of_generate(server, generate, name):
    text, new, given = generate(name, PROMPT, 40)
    assert len(set(text)) > 5, "the model repeats one token"
    answer = complete(server, name, max_tokens=40)
    assert answer["choices"][0]["text"] == text
    usage = {"prompt_tokens": given, "completion_tokens": new, "total_tokens": given + new}
    assert answer["usage"] == usage


def test_a_conversation_is_rendered_by_the_template(server, generate):
    text, _, given = generate("gpt", "<system>Be kind.\n<user>Hello\n<assistant>", 12, special=False)
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    ]
    body = {"model": "gpt", "messages": messages, "max_completion_tokens": 12, "temperature": 0}
    answer = server.request("/v1/chat/completions", body).json
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": text}
    assert answer["usage"]["prompt_tokens"] == given


def test_a_stream_has_the_same_text(server):
    whole = complete(server, "llama", max_tokens=40)
    body = {"model": "llama", "prompt": PROMPT, "temperature": 0, "max_tokens": 40, "stream": True}
    answer = server.request("/v1/completions", body | {"stream_options": {"include_usage": True}})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    *pieces, last = map(json.loads, events)
    assert "".join(one["choices"][0]["text"] for one in pieces) == whole["choices"][0]["text"]
    assert [one["choices"][0]["finish_reason"] for one in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert len(pieces) > 5


def test_a_stop_text_ends_the_completion_and_is_not_shown(server):
    text = complete(server, "gpt", max_tokens=60)["choices"][0]["text"]
    stop = text[len(text) // 2 :][:4]
    answer = complete(server, "gpt", max_tokens=60, stop=["never there", stop])
    assert answer["choices"][0] | {"logprobs": None} == {
        "index": 0, "text": text[: text.index(stop)], "logprobs": None, "finish_reason": "stop",
    }  # fmt: skip
    assert answer["usage"]["completion_tokens"] < 60


def test_a_seed_repeats_a_draw_and_another_one_does_not(server):
    drawn = [complete(server, "gpt", temperature=1, seed=seed, max_tokens=30) for seed in (1, 1, 2)]
    texts = [one["choices"][0]["text"] for one in drawn]
    assert texts[0] == texts[1] != texts[2]
    greedy = complete(server, "gpt", max_tokens=30)["choices"][0]["text"]
    narrow = complete(server, "gpt", temperature=1, top_p=1e-6, seed=3, max_tokens=30)["choices"][0]["text"]
    assert narrow == greedy != texts[0]


def test_completions_take_turns_and_do_not_mix(server):
    """Several at once: each is what it is alone."""
    import threading

    prompts = [f"{PROMPT} {number}" for number in range(12)]
    alone = [complete(server, "gpt", prompt=prompt, max_tokens=20) for prompt in prompts]
    together = {}

    def ask(number):
        together[number] = complete(server, "gpt", prompt=prompts[number], max_tokens=20)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, one in enumerate(alone):
        assert together[number]["choices"] == one["choices"]


@pytest.mark.parametrize(("body", "says"), [
    ({"max_tokens": 256}, "256 positions; the prompt has"),
    ({"max_tokens": 5000}, "may have 1024 tokens"),
    ({"prompt": "word " * 400}, "256 positions"),
    ({"prompt": ""}, "no tokens"),
    ({"prompt": ["a", "b"]}, "one prompt"),
])  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_that_cannot_be_continued_is_refused(server, body, says, stream):
    answer = server.request("/v1/completions", {"model": "gpt", "prompt": PROMPT, "stream": stream, **body})
    assert answer.status == 400
    assert says in answer.json["error"]["message"]


@pytest.mark.parametrize("body", [{"n": 2}, {"temperature": 3}, {"top_p": 0}, {"tools": []}, {"presence_penalty": 1}])
def test_what_the_server_does_not_do_is_refused(server, body):
    answer = server.request("/v1/completions", {"model": "gpt", "prompt": PROMPT, **body})
    assert answer.status == 422
    assert next(iter(body)) in answer.json["error"]["message"]
