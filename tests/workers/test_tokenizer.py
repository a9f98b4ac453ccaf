"""A tokenizer from tokenizer.json alone returns what AutoTokenizer returns, or is refused."""

from __future__ import annotations

import json
import shutil

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from families import FAMILIES, checkpoint, minilm_files  # noqa: E402
from small_models import exported  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.workers.inputs.sentences import SENTENCES  # noqa: E402
from onnxbuild.workers.inputs.tokenizer import load_light_tokenizer, load_tokenizer, plain_tokenizer  # noqa: E402

pytestmark = pytest.mark.heavy

TEXTS = (
    *SENTENCES, "", " ", "two  spaces\tand\na break", "Ünïcödé Ångström", "東京 and 대한민국", "🦭 seal",
    "ends in [MASK]", "<s>literal</s> <pad> <|endoftext|> [SEP] [PAD]x", "don't WON'T", "a" * 300, "\u0000 control",
)  # fmt: skip


def folder_of(name):
    if name == "minilm":
        return minilm_files()
    return exported("t5").checkpoint if name == "small" else checkpoint(name)


@pytest.mark.parametrize("name", ["minilm", "small", *(name for name, row in FAMILIES.items() if row[2])])
def test_ids_are_those_of_transformers(name):
    plain, wanted = plain_tokenizer(folder_of(name)), load_tokenizer(folder_of(name))
    assert plain is not None
    assert plain.pad_token_id == wanted.pad_token_id
    assert set(plain.all_special_ids) == set(wanted.all_special_ids)
    for text in TEXTS:
        assert plain(text)["input_ids"] == wanted(text, verbose=False)["input_ids"], text
        for limit in (3, 7, 64):  # in turn with calls that do not truncate, as samples are made
            assert (
                plain(text, truncation=True, max_length=limit)["input_ids"]
                == wanted(text, truncation=True, max_length=limit)["input_ids"]
            ), text


def changed(tmp_path, file="tokenizer_config.json", **changes):
    """MiniLM's tokenizer with other entries in one of its files."""
    folder = tmp_path / "changed"
    shutil.copytree(minilm_files(), folder)
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.mark.parametrize("changes", [
    {"do_lower_case": False},
    {"strip_accents": False},
    {"tokenize_chinese_chars": False},
    {"add_prefix_space": True, "tokenizer_class": "GPT2Tokenizer"},
    {"additional_special_tokens": ["<extra>"]},
    {"added_tokens_decoder": {"103": {"content": "[MASK]", "lstrip": True, "special": True}}},
    {"split_special_tokens": True},
    {"auto_map": {"AutoTokenizer": ["custom.Tokenizer", None]}},
    {"tokenizer_class": "RobertaTokenizer"},
    {"tokenizer_class": None},
])  # fmt: skip
def test_a_tokenizer_that_transformers_would_change_is_refused(changes, tmp_path):
    assert plain_tokenizer(changed(tmp_path, **changes)) is None


def test_a_token_named_only_in_the_older_map_is_refused_too(tmp_path):
    assert plain_tokenizer(changed(tmp_path, "special_tokens_map.json", mask_token="[HOLE]")) is None


def test_truncation_on_the_left_is_kept(tmp_path):
    folder = changed(tmp_path, truncation_side="left")
    plain, wanted = plain_tokenizer(folder), load_tokenizer(folder)
    ids = plain(SENTENCES[0], truncation=True, max_length=6)["input_ids"]
    assert ids == wanted(SENTENCES[0], truncation=True, max_length=6)["input_ids"]
    assert ids != plain_tokenizer(minilm_files())(SENTENCES[0], truncation=True, max_length=6)["input_ids"]


def test_a_refused_tokenizer_comes_from_transformers(tmp_path):
    folder = changed(tmp_path, do_lower_case=False)
    assert type(load_light_tokenizer(folder)).__name__ == "BertTokenizerFast"
    assert load_light_tokenizer(tmp_path) is None


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "place"), [("LayoutLMv3TokenizerFast", "boxes"), ("MarkupLMTokenizerFast", "xpaths")])
def test_a_tokenizer_that_asks_for_places_reads_text_alone(name, place, tmp_path):
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    model = ByteLevelBPETokenizer()
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    model.train_from_iterator(["the second run does nothing, and can say why"], 300, special_tokens=words)
    model.save_model(str(tmp_path))
    tags = {"tags_dict": {"html": 0, "body": 1, "p": 2}} if place == "xpaths" else {}
    files = {"vocab_file": f"{tmp_path}/vocab.json", "merges_file": f"{tmp_path}/merges.txt"}
    own = getattr(transformers, name)(**files, **tags)
    own.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    places = {"boxes": [[1, 2, 3, 4]] * 3, "xpaths": ["/html/body/p"] * 3}[place]
    wanted = own(["the", "second", "run"], **{place: places})["input_ids"]
    assert tokenizer("the second run")["input_ids"] == wanted
    assert tokenizer("the second run", truncation=True, max_length=4)["input_ids"] == [*wanted[:3], wanted[-1]]
    pair = own("why", ["the", "second", "run"], **{place: places})["input_ids"]
    assert tokenizer("why", "the second run")["input_ids"] == pair
    assert tokenizer.pad_token_id == own.pad_token_id


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_text("{}")], ids=["gone", "empty"]
)
def test_what_transformers_cannot_load_is_named(tmp_path, damage):
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "bert")
    assert (folder / "tokenizer_config.json").is_file()
    damage(folder / "tokenizer.json")
    (folder / "vocab.txt").unlink(missing_ok=True)
    for load in (load_tokenizer, load_light_tokenizer):
        with pytest.raises(
            CheckFailed, match=r"OBE130 the tokenizer of the model cannot be loaded from .*tokenizer_config"
        ):
            load(folder)
