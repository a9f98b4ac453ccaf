"""Chat templates, rendered as transformers renders them."""

import json

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]

MESSAGES = [
    {"role": "system", "content": 'Be <kind> & "short".'},
    {"role": "user", "content": "Where are ships?\n"},
    {"role": "assistant", "content": "  In the harbour.  "},
    {"role": "user", "content": "Größe?"},
]
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
        " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "blocks": (
        "{{ bos_token }}\n{%- for m in messages %}\n    {% if m.role == 'system' %}\n        {% continue %}\n"
        "    {% endif %}\n    [{{ m.role }}] {{ m.content | trim }}{{ eos_token }}\n{% endfor %}\n"
    ),
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ tools is none }}{{ documents is none }}",
    "marks": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% endif %}{% endfor %}"
    ),
    "date": (
        "{{ strftime_now('%Y') }}{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
        "{% endfor %}{{ ns.n }}"
    ),
}


@pytest.fixture
def folder(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>")).save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": {"content": "</s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path


def prompt(folder, messages=MESSAGES):
    from onnxbuild.serve.inference.generating.chat_prompt import chat_prompt_of
    from onnxbuild.serve.inference.model_folder import ModelFolder

    return chat_prompt_of(ModelFolder(folder))(messages)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("place", ["file", "config", "list"])
def test_the_prompt_is_that_of_transformers(folder, name, place):
    from transformers import PreTrainedTokenizerFast

    template = TEMPLATES[name]
    if place == "file":
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    else:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        several = [{"name": "other", "template": "no"}, {"name": "default", "template": template}]
        config["chat_template"] = several if place == "list" else template
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    options = {"chat_template": template, "tokenize": False, "add_generation_prompt": True}
    expected = tokenizer.apply_chat_template(MESSAGES, **options)
    assert prompt(folder) == expected != ""


@pytest.mark.parametrize("template", [
    "{{ raise_exception('no system message') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.append(1) }}",
    "{{ 1 // 0 }}",
])  # fmt: skip
def test_a_template_that_refuses_or_reaches_out_is_an_error_of_the_request(folder, template):
    from onnxbuild.serve.inference.generating.chat_prompt import ChatError

    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    with pytest.raises(ChatError, match="the chat template refuses these messages"):
        prompt(folder)
