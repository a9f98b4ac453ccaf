"""Codes of sources: where models and datasets come from. Found by planning and by the lock, described here."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.manifest.reach import store_problem
from onnxbuild.rules.rule import Rule, World, described, rule


@rule("OB060", "outside-the-folder")
def outside_the_folder(world: World) -> Iterator[Diagnostic]:
    """A path leads out of the manifest's folder, or a link in a model folder leads out of the model folder.

    Why: otherwise, a manifest that somebody else wrote could read any of your files, and write to any of your folders.
    Fix: put the files below the folder of the manifest, or permit the path with `--allow-path DIR`,
    `ONNXBUILD_ALLOW_PATH` or `allow_paths` in `~/.config/onnxbuild/config.toml`. A store elsewhere is named with
    `--store DIR`.
    Bad:
        source: local:../../models/mine
    Good:
        source: local:models/mine
    """
    problem = store_problem(world.manifest)  # planning finds the others, but does not look at the store
    if problem is not None:
        yield problem


RULES: tuple[Rule, ...] = (
    described("OB026", "bad-source", """
        A source that begins with no known prefix.

        Fix: a model's source begins with `hub:`, `local:`, `package:`, `random:` or `onnx:`.
        Bad:
            source: bert-base-uncased
        Good:
            source: hub:google-bert/bert-base-uncased
        """),
    described("OB027", "unusable-source", """
        A source without weights, or whose config.json is missing or cannot be read.

        Why: the export would find it after minutes, with a worse message.
        """),
    described("OB028", "lfs-pointer", """
        A small text file that stands for weights which Git LFS has not downloaded yet.

        Fix: run `git lfs pull` in the folder.
        """),
    described("OB031", "bad-lock", """
        The lock file cannot be read.

        Fix: after a merge, keep the entries of both sides. Otherwise remove the file and run `onnxbuild lock`.
        """),
    outside_the_folder,
    described("OB107", "floating-extra-code", """
        The checkpoint's own Python code may run, and nothing pins it.

        Why: the code that you read today may be different tomorrow. An entry of the lock file is not enough: the
        first run writes it with the newest commit, which nobody has read.
        Bad:
            source: hub:org/model
            export: {trust_remote_code: true}
        Good:
            source: hub:org/model@0123456789abcdef0123456789abcdef01234567
            export: {trust_remote_code: true}
        """),
    described("OB110", "unresolved-source", """
        The Hub does not resolve a revision to a commit.

        Why: the name is misspelt, access is refused, or there is no network.
        Fix: see the reason in the message. HF_TOKEN gives access, HF_ENDPOINT names another server.
        """),
    described("OB111", "unlocked-offline", """
        A Hub source without an entry in the lock file, in a run that must stay offline.

        Fix: run `onnxbuild lock` where the Hub can be reached.
        """),
    described("OB201", "trust-remote-code", """
        The checkpoint comes with its own Python code, and the manifest does not allow it to run.

        Why: it would run with your rights.
        Fix: read the code, then write `export: {trust_remote_code: true}` and the commit in `source:`.
        """),
    described("OB622", "several-models", """
        A source with graphs that are not the parts of one model.

        Why: each graph of a model is run in a way of its own: in one pass, as an encoder, as a decoder. Of two graphs
        that are run in the same way only one would be compared and measured, and the other delivered beside it.
        Fix: name the graph with `file:`, and write one model for each graph that you want. A model of several graphs,
        such as an encoder and its decoder, needs all of their names.
        Bad:
            models: {m: {source: "onnx:exported", targets: [fp32]}}      # model.onnx and model_uint8.onnx
        Good:
            models: {m: {source: "onnx:exported", file: model.onnx, targets: [fp32]}}
        """),
    described("OB623", "weights-not-found", """
        A graph refers to a file of weights that is missing, cut short, or outside the folder of the graph.

        Why: the model would be delivered without it, and would not load.
        Fix: copy the graph together with all files that it refers to. Their names are in the graph, so they cannot be
        changed; to move weights into the graph's folder, load the model and save it again.
        """),
    described("OB624", "no-such-graph", """
        `file:` names a graph that the source does not have, or stands beside a source that has no graphs to pick from.

        Fix: `file:` is a path below the folder of an `onnx:` source, or below a `hub:` repository.
        Bad:
            models: {m: {source: "onnx:exported/model.onnx", file: model.onnx, targets: [fp32]}}
        Good:
            models: {m: {source: "onnx:exported", file: model.onnx, targets: [fp32]}}
        """),
    described("OB330", "checkpoint-without-tokenizer", """
        A checkpoint for a task that reads text, without the files of a tokenizer.

        Why: the exported model has no tokenizer either, checks run on seeded token ids instead of text, and `generate`
        and datasets cannot be used.
        Fix: save the tokenizer beside the weights: `tokenizer.save_pretrained(folder)`.
        """, severity="warning"),
    described("OB626", "padding-outside-vocabulary", """
        The tokenizer of a checkpoint pads with a token for which the model has no embedding.

        Why: somebody added a token of padding to the tokenizer and did not resize the model. A single text works; a
        batch of texts of several lengths fails, in PyTorch as in ONNX Runtime. Validation pads with another id, because
        padding is masked.
        Fix: call `model.resize_token_embeddings(len(tokenizer))` and save the model, or set `tokenizer.pad_token` to a
        token that the model has, such as the end token, and save the tokenizer.
        """, severity="warning"),
)  # fmt: skip
