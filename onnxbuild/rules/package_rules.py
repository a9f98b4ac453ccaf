"""Codes of packages. Their checks find them while planning; the pages are here."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.rules.rule import Rule, World, described, rule


@rule("OB767", "asks-for-nothing", severity="warning")
def asks_for_nothing(world: World) -> Iterator[Diagnostic]:
    """An empty `package:` or `publish:` that changes nothing.

    Why: nothing is packaged or published, and somebody may believe that it is.
    Fix: name a package or a destination, or remove the key. An empty list in a model turns off what `defaults:` has; an
    empty mapping adds nothing to it.
    Bad:
        package: []
    Good:
        package: plain
    """
    for model in world.manifest.models:
        for one in model.idle:
            if one.beside_defaults:
                message = f"`{one.key}: {{}}` adds nothing to `{one.key}:` of `defaults:`"
                hint = f"remove it; `{one.key}: []` turns off what `defaults:` has"
            else:
                message = f"`{one.key}:` has no effect: it names no {_NAMED[one.key]}"
                hint = f"write `{_EXAMPLES[one.key]}`, or remove it"
            yield fault("OB767", message, span=one.span, hint=hint, severity="warning")


_NAMED = {"package": "package", "publish": "destination"}
_EXAMPLES = {"package": "package: plain", "publish": "publish: {hub: OWNER/NAME}"}

RULES: tuple[Rule, ...] = (
    described(
        "OB760",
        "unknown-target-in-package",
        """
        A package names a target that the model does not have, or its `targets:` is empty.

        Why: the package would lack the file that somebody expects.
        Bad:
            targets: [fp32, int8]
            package: {plain: {targets: [int9]}}
        Good:
            targets: [fp32, int8]
            package: {plain: {targets: [int8]}}
        """,
    ),
    described(
        "OB761",
        "two-targets-for-one-role",
        """
        Two targets would be the same file of a package.

        Why: a client finds a graph by its file name, so each role has one target.
        Fix: name the targets that go in, or give each one its role.
        Bad:
            targets: [fp32, o1]
            package: sentence-transformers
        Good:
            targets: [fp32, o1]
            package: {sentence-transformers: {targets: [fp32]}}
        """,
    ),
    described(
        "OB762",
        "target-unfit-for-package",
        """
        A target cannot go into a package.

        Why: the client of the package cannot load it, or would not use it as it is meant; the message has the reason.
        Fix: name the targets that go in, `package: {plain: {targets: [int8]}}`, or choose another package.
        """,
    ),
    described(
        "OB763",
        "target-named-packages",
        """
        A model with packages has a target that is called `packages`.

        Why: packages are written to `out/MODEL/packages/`, and the target would be written to the same folder.
        Bad:
            targets: [{name: packages}]
            package: plain
        Good:
            targets: [{name: all}]
            package: plain
        """,
    ),
    described("OB764", "role-is-no-name", """
        A role of a package that cannot be a part of a file name.

        Why: the files of a package are named after roles, and must be inside its folder on every system.
        Bad:
            package: {plain: {targets: {"../int8": int8}}}
        Good:
            package: {plain: {targets: {int8: int8}}}
        """),
    described(
        "OB765",
        "model-without-name",
        """
        A role of a model repository is empty.

        Why: `triton` and `ovms` write each model to a folder that bears its name.
        Bad:
            package: {triton: {targets: {"": int8}}}
        Good:
            package: {triton: {targets: {minilm: int8}}}
        """,
    ),
    described(
        "OB766",
        "batch-never-reached",
        """
        A package for Triton prefers a batch size that its `max_batch_size` does not allow.

        Why: Triton does not load a model whose preferred batch is above the largest one.
        Bad:
            package: {triton: {max_batch_size: 8, preferred_batch_sizes: [4, 16]}}
        Good:
            package: {triton: {max_batch_size: 16, preferred_batch_sizes: [4, 16]}}
        """,
    ),
    described(
        "OB770",
        "no-javascript-pipeline",
        """
        A model with the package `transformers.js` has a task that Transformers.js has no pipeline for, or reads
        something else than the pipeline does.

        Why: nobody could load the package by the library's documented way. Features are extracted from text alone, and
        of the other models of that task only SAM has a class in the library.
        Fix: package the model as `plain`, and run its graphs with onnxruntime-web.
        Bad:
            models: {m: {source: "random:bert", task: multiple-choice, targets: [fp32], package: transformers.js}}
        Good:
            models: {m: {source: "random:bert", task: multiple-choice, targets: [fp32], package: plain}}
        """,
    ),
    described(
        "OB772",
        "dtype-misnamed",
        """
        A target has the name of another dtype in a package for Transformers.js, or it returns fp16.

        Why: a page asks for a dtype by its name, and would get other numbers, another size or another speed without a
        word. Node and WebGPU load `fp32` where a page names none.
        Bad:
            package: {transformers.js: {dtypes: {fp32: int8}}}
        Good:
            package: {transformers.js: {dtypes: {q8: int8}}}
        """,
    ),
    described(
        "OB773",
        "javascript-default-missing",
        """
        A package for Transformers.js lacks a dtype that pages load by default.

        Why: without `dtype`, WebAssembly loads `q8`, and Node and WebGPU load `fp32`; a missing file is an error 404.
        Fix: add the target, or name a `default_dtype`, which is written to config.json.
        Bad:
            targets: [fp32, q4]
            package: transformers.js
        Good:
            targets: [fp32, q4]
            package: {transformers.js: {default_dtype: q4}}
        """,
    ),
    described(
        "OB774",
        "javascript-inputs-missing",
        """
        A checkpoint lacks the tokenizer or the processor that Transformers.js needs to make inputs.

        Why: the package would build, and its pipeline would fail in each client.
        Fix: save the tokenizer or the processor of the model into the checkpoint with `save_pretrained`.
        """,
    ),
    described(
        "OB775",
        "javascript-kernel-missing",
        """
        A client has no kernel for what a target computes, or a wrong one.

        Why: the client fails when it opens the file, with a message that names an operator and no way out.
        Fix: leave the operator out of the quantization, or drop the client or the dtype.
        Bad:
            models: {m: {source: "random:vit", targets: [int8], package: {transformers.js: {library: 3}}}}
        Good:
            models: {m: {source: "random:vit", targets: [int8], package: {transformers.js: {library: 4}}}}
        """,
    ),
    described(
        "OB777",
        "javascript-rounds-otherwise",
        """
        Browsers round a target of a package otherwise than the machine that validates it.

        Why: the validation holds for the kernels of this machine. Measured with MiniLM as a part of the largest number,
        WebAssembly of Transformers.js 4.3.1 differs by 13 % where int8 weights are signed, and by 0.5 % where they are
        not; 4-bit products that are computed in int8 differ by 7 % in WebAssembly and 28 % with WebGPU, and by less
        than 0.001 % with `accuracy_level: 0`.
        Bad:
            int8: {quantize: {method: dynamic}}
            q4: {quantize: {method: weight-only, bits: 4}}
        Good:
            int8: {quantize: {method: dynamic, preset: avx2}}
            q4: {quantize: {method: weight-only, bits: 4, symmetric: true, accuracy_level: 0}}
        """,
    ),
    described(
        "OB778",
        "not-of-this-model",
        """
        A package asks for the halves of a model that Transformers.js loads as a whole only, or for times of words of
        another model than Whisper.

        Why: the library has classes for the text half and the vision half of a few model types, and finds no other.
        Bad:
            models: {m: {source: "random:bert", package: {transformers.js: {halves: beside}}}}
        Good:
            models: {m: {source: "random:clip", package: {transformers.js: {halves: beside}}}}
        """,
    ),
    described(
        "OB776",
        "not-convertible",
        """
        `convert-js` was given what is no model, or its folder holds another manifest of the same name.

        Why: the command writes a manifest, and does not replace one that somebody may have changed.
        Fix: name a folder with a config.json or a repository of the Hub; run the manifest that is there, or choose
        another folder with `--output`.
        Bad:
            onnxbuild convert-js my-model.bin
        Good:
            onnxbuild convert-js my-model
        """,
    ),
    asks_for_nothing,
)  # fmt: skip
