"""docs/how-to/javascript.md: its page, in Chromium, with a package that its first command built."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from servers import free_port

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.package.javascript.node_project import (
    LIBRARY,
    ClientAbsent,
    browser,
    node,
    project_folder,
    version_of,
)

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/javascript.md").read_text(encoding="utf-8")
READ = """
import { createRequire } from "node:module";
const [project, executablePath, address] = process.argv.slice(2);
const { chromium } = createRequire(`${project}/`)("playwright-core");
const browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.goto(address);
await page.waitForFunction(() => !document.getElementById("answer").textContent.startsWith("loading"));
console.log(await page.textContent("#answer"));
await browser.close();
"""


def command(start):
    """The arguments of the guide's command that begins so."""
    found = re.search(rf"^{start} (.*)$", GUIDE, re.MULTILINE)
    assert found is not None
    return found[1].split()


@contextlib.contextmanager
def served(folder):
    """The guide's third command, at a port that is free; its address."""
    *arguments, port = command("python")
    assert port == "8000"
    address = f"http://127.0.0.1:{(free := free_port())}"
    log = (folder / "server.log").open("w")
    line = [sys.executable, *arguments, str(free), "--bind", "127.0.0.1"]
    with log, subprocess.Popen(line, cwd=folder, stdout=log, stderr=log) as server:
        try:
            await_answer(address)
            yield address
        finally:
            server.terminate()


def await_answer(address):
    for _ in range(300):
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(address):
            return
        time.sleep(0.1)
    pytest.fail(f"{address} does not answer")


def fine_tuned(folder):
    """A classifier of two classes, with random weights that tell them apart clearly."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "The", "harbour", "is", "quiet", "tonight", "."]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **named).save_pretrained(folder)
    torch.manual_seed(7)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    labels = {"id2label": {0: "calm", 1: "storm"}, "label2id": {"calm": 0, "storm": 1}}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(words), **sizes, **labels)).eval()
    with torch.no_grad():
        model.classifier.bias[:] = torch.tensor([2.0, -1.0])
    model.save_pretrained(folder)
    return model


def test_page_shows_what_the_model_says(tmp_path, amount):
    """The three commands; without `--thorough`, the library that checks packages stands for `npm install`."""
    assert f"{LIBRARY}@{version_of(4)}\n" in GUIDE, "the page loads the version that checks the package"
    try:
        program, chromium, project = node(), browser(), project_folder(4, lambda *_: None)
    except (ClientAbsent, CheckFailed) as absent:
        pytest.skip(str(absent))
    model = fine_tuned(tmp_path / "my-model")
    run([sys.executable, "-m", "onnxbuild", *command("onnxbuild")], tmp_path)
    if amount(part=False, full=True):
        run(["npm", *command("npm")], tmp_path)
    else:
        (tmp_path / "my-model-js/node_modules").symlink_to(project / "node_modules")
    page = re.search(r"```html\n(.*?)```", GUIDE, re.DOTALL).group(1)
    (tmp_path / "my-model-js/index.html").write_text(page, encoding="utf-8")
    (tmp_path / "read.mjs").write_text(READ)
    with served(tmp_path) as address:
        label, score = run([program, "read.mjs", project, chromium, f"{address}/index.html"], tmp_path).split()
    assert label == "calm"
    assert float(score) == pytest.approx(expected(model, tmp_path / "my-model"), abs=0.01)


def run(arguments, folder):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected(model, folder):
    import torch
    from transformers import AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)("The harbour is quiet tonight.", return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits.softmax(-1)[0, 0].item()
