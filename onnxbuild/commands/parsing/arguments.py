"""The arguments of every command, and the words that help shows for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple

from onnxbuild.commands.parsing import values

_SELECTORS = "model, model/target, model/target:kind, :kind, x+, globs"
_ONE_VARIANT = "the variant; MODEL alone, if it has only one"


class Command(NamedTuple):
    """How a command appears in help, and the function that gives its parser its arguments."""

    summary: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


# -- arguments that commands share ------------------------------------------------------------------------------------


def _about_manifest(to: argparse.ArgumentParser, *, selectors: bool) -> None:
    to.add_argument("manifest", type=values.path, metavar="MANIFEST", help="the YAML file")
    if selectors:
        to.add_argument("selectors", nargs="*", metavar="SELECTOR", help=_SELECTORS)
    _common(to)


def _common(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "-D",
        dest="define",
        action="append",
        type=values.name_and_value,
        default=[],
        metavar="NAME=VALUE",
        help="set ${vars.NAME}",
    )
    to.add_argument("--store", type=values.path, metavar="DIR", help="where results are kept (also ONNXBUILD_STORE)")
    to.add_argument("--remote", metavar="URL", help="store shared with other machines (also ONNXBUILD_REMOTE)")
    to.add_argument("--remote-readonly", action="store_true", help="read from the remote store, write nothing to it")
    words = "take from the remote store only what this public key has signed (repeatable)"
    to.add_argument("--trust", action="append", default=[], metavar="KEY", help=words)
    to.add_argument("--offline", action="store_true", help="use no network")
    _permissions(to)


def _permissions(to: argparse.ArgumentParser) -> None:
    paths = "let the manifest read a path outside its folder (also ONNXBUILD_ALLOW_PATH)"
    to.add_argument("--allow-path", action="append", type=values.path, default=[], metavar="DIR", help=paths)
    words = "let the manifest read an environment variable; NAME may end in *"
    to.add_argument("--allow-env", action="append", type=values.variable, default=[], metavar="NAME", help=words)


def _about_last_run(to: argparse.ArgumentParser, metavar: str, words: str) -> None:
    to.add_argument("subject", metavar=metavar, help=words)
    to.add_argument(
        "-m", "--manifest", type=values.path, metavar="MANIFEST", help="the manifest (default: the last one run)"
    )
    _common(to)


# -- the arguments of each command ------------------------------------------------------------------------------------


def _run(run: argparse.ArgumentParser) -> None:
    _about_manifest(run, selectors=True)
    run.add_argument("-n", "--dry-run", action="store_true", help="only show what would run and why")
    run.add_argument(
        "-j", "--jobs", type=values.positive, metavar="N", help="actions at once (default: cores, at most 4)"
    )
    run.add_argument(
        "-k", "--keep-going", action="store_true", help="build all that does not need what failed (the default)"
    )
    run.add_argument("--fail-fast", action="store_true", help="start nothing more after the first failure")
    run.add_argument("--force", action="store_true", help="run every selected action whatever is stored")
    words = "check again what came from a remote store: fetch from the source, and run every check on this machine"
    run.add_argument("--revalidate", action="store_true", help=words)
    run.add_argument("--publish", action="store_true", help="upload the packages that the manifest publishes")
    words = "publish, and ask the destinations of earlier uploads what is there now"
    run.add_argument("--check-published", action="store_true", help=words)
    shown = run.add_mutually_exclusive_group()
    shown.add_argument("-q", "--quiet", action="store_true", help="print only failures and the closing line")
    shown.add_argument("-v", "--verbose", action="store_true", help="print every action, its reasons and its log file")
    shown.add_argument("--json", action="store_true", help="print events, one JSON object per line")
    run.add_argument(
        "--out",
        type=values.path,
        metavar="DIR",
        help="where finished models are written (default: out/ beside the manifest)",
    )
    run.add_argument(
        "--prune", action="store_true", help="remove output folders of targets that the manifest no longer names"
    )
    run.add_argument("--timeout", type=values.seconds, metavar="SECONDS", help="stop any action that takes longer")
    words = "compare with this build afterwards, and fail where `regressions:` of the manifest is broken"
    run.add_argument("--against", type=values.path, metavar="BUILD", help=words)
    run.add_argument("--profile", type=values.path, metavar="FILE", help="write where the time went, as a Chrome trace")
    run.add_argument("--executor", choices=("local",), default="local", help="where actions run")


def _plan(plan: argparse.ArgumentParser) -> None:
    _about_manifest(plan, selectors=True)
    words = "ask the Hub and folders what they have, and show what a publish would change there"
    plan.add_argument("--check-published", action="store_true", help=words)
    plan.add_argument("--json", action="store_true", help="print one JSON object per line")


def _status(status: argparse.ArgumentParser) -> None:
    _about_manifest(status, selectors=True)
    status.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="how to print it")


def _lint(lint: argparse.ArgumentParser) -> None:
    lint.add_argument("manifests", nargs="+", type=values.path, metavar="MANIFEST", help="the YAML files")
    formats = ("text", "json", "sarif", "github")
    lint.add_argument("--format", choices=formats, default="text", help="how to print the faults")
    lint.add_argument("--strict", action="store_true", help="exit with 1 for a warning, too")
    _common(lint)


def _explain(explain: argparse.ArgumentParser) -> None:
    words = "an action such as minilm/int8:quantize, a variant such as minilm/int8, a model, or a code such as OB301"
    _about_last_run(explain, "ID|CODE", words)


def _logs(logs: argparse.ArgumentParser) -> None:
    _about_last_run(logs, "ID", "an action such as minilm/int8:quantize, or a variant of which one action failed")


def _graph(graph: argparse.ArgumentParser) -> None:
    _about_manifest(graph, selectors=True)
    formats = ("mermaid", "dot", "json", "svg")
    graph.add_argument("--format", choices=formats, help="the format (default: by the suffix of FILE, or mermaid)")
    graph.add_argument(
        "--output", type=values.path, metavar="FILE", help="write the drawing to a file: .svg, .dot, .mmd, .md or .json"
    )


def _report(report: argparse.ArgumentParser) -> None:
    words = "the YAML file; --compare needs one only for selectors, bounds and revisions"
    report.add_argument("manifest", nargs="?", type=values.path, metavar="MANIFEST", help=words)
    report.add_argument("selectors", nargs="*", metavar="SELECTOR", help=_SELECTORS)
    _common(report)
    words = "show what changed between two builds: manifests, reports in JSON, folders of outputs, REVISION:FILE, or"
    words += " revisions of git beside MANIFEST"
    report.add_argument("--compare", nargs=2, type=values.path, metavar=("A", "B"), help=words)
    formats = ("html", "markdown", "json", "csv", "text")
    report.add_argument("--format", choices=formats, help="the format (default: by the suffix of FILE, or html)")
    words = "the file (default: out/NAME-report.html beside the manifest; standard output for the other formats)"
    report.add_argument("--output", type=values.path, metavar="FILE", help=words)
    report.add_argument(
        "--plots", type=values.path, metavar="DIR", help="write the plots to this folder as well, as SVG and PNG"
    )
    report.add_argument("--open", dest="show", action="store_true", help="open the page in a browser")


def _card(card: argparse.ArgumentParser) -> None:
    _about_manifest(card, selectors=True)
    words = "write to MODEL/README.md in this folder (default: out/ beside the manifest)"
    card.add_argument("--output", type=values.path, metavar="DIR", help=words)
    card.add_argument("--no-plots", dest="plots", action="store_false", help="write no plots beside the card")


def _view(view: argparse.ArgumentParser) -> None:
    view.add_argument("manifest", type=values.path, metavar="MANIFEST", help="the YAML file")
    view.add_argument("selectors", nargs=1, metavar="MODEL/TARGET", help=_ONE_VARIANT)
    _common(view)
    words = "where finished models were written (default: out/ beside the manifest)"
    view.add_argument("--out", type=values.path, metavar="DIR", help=words)
    view.add_argument("--graph", metavar="NAME", help="the graph, where the variant has several")
    view.add_argument("--port", type=values.port, default=0, metavar="N", help="the port (default: any free one)")
    view.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")


def _serve(serve: argparse.ArgumentParser) -> None:
    words = "the YAML file, or the folder of a delivered model"
    serve.add_argument("manifest", type=values.path, metavar="MANIFEST|FOLDER", help=words)
    words = "the models (default: the only one); after a folder, more folders"
    serve.add_argument("selectors", nargs="*", metavar="MODEL[/TARGET]", help=words)
    _common(serve)
    words = "where finished models were written (default: out/ beside the manifest)"
    serve.add_argument("--out", type=values.path, metavar="DIR", help=words)
    _where_served(serve)
    _how_served(serve)
    _limits_of_requests(serve)


def _where_served(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="the address (default: 127.0.0.1)")
    words = "the port (default: 8000); 0 is any free one"
    serve.add_argument("--port", type=values.port, default=8000, metavar="N", help=words)
    words = "a file with one API key per line (default: the variable ONNXBUILD_API_KEYS; without keys, none is needed)"
    serve.add_argument("--api-keys", type=values.path, metavar="FILE", help=words)
    words = "a certificate with its chain, in PEM: the server speaks HTTPS (default: HTTP)"
    serve.add_argument("--tls-cert", type=values.path, metavar="FILE", help=words)
    serve.add_argument(
        "--tls-key", type=values.path, metavar="FILE", help="its private key, in PEM, without a password"
    )
    serve.add_argument("--no-access-log", action="store_true", help="log no line per request")


def _how_served(serve: argparse.ArgumentParser) -> None:
    words = "processes of each model (default: 1)"
    serve.add_argument("--workers", type=values.positive, default=1, metavar="N", help=words)
    words = "threads of each session (default: what `tune` recorded, or one for each physical core)"
    serve.add_argument("--threads", type=values.positive, metavar="N", help=words)
    words = "texts that run together (default: 32)"
    serve.add_argument("--max-batch", type=values.positive, default=32, metavar="N", help=words)
    words = "milliseconds that an idle process waits for more texts (default: 2)"
    serve.add_argument("--max-wait", type=values.milliseconds, default=2.0, metavar="MS", help=words)
    words = "look for a new build, and a renewed certificate, this often (default: 1)"
    serve.add_argument("--reload", type=values.seconds, default=1.0, metavar="SECONDS", help=words)
    serve.add_argument("--no-reload", action="store_true", help="never take a new build or a renewed certificate")
    words = "after SIGTERM, how long requests in flight may take (default: 30)"
    serve.add_argument("--drain", type=values.seconds, default=30.0, metavar="SECONDS", help=words)


def _limits_of_requests(serve: argparse.ArgumentParser) -> None:
    words = "texts of a model that may wait; more are refused with status 429 (default: 1024)"
    serve.add_argument("--max-queue", type=values.positive, default=1024, metavar="N", help=words)
    words = "texts of one request (default: 256)"
    serve.add_argument("--max-items", type=values.positive, default=256, metavar="N", help=words)
    words = "size of one request, such as 1MB (default: 8 MiB)"
    serve.add_argument("--max-body", type=values.size, default=8 << 20, metavar="SIZE", help=words)
    words = "tokens of one completion (default: 1024)"
    serve.add_argument("--max-tokens", type=values.positive, default=1024, metavar="N", help=words)
    words = "completions that one process computes at the same time (default: 8)"
    serve.add_argument("--max-sequences", type=values.positive, default=8, metavar="N", help=words)
    words = "give up a request after this time (default: 60)"
    serve.add_argument("--timeout", type=values.seconds, default=60.0, metavar="SECONDS", help=words)


def _of_folders(to: argparse.ArgumentParser) -> None:
    words = "folders that a run has written, or copies of them"
    to.add_argument("folders", nargs="+", type=values.path, metavar="DIR", help=words)
    _allowed(to)


def _allowed(to: argparse.ArgumentParser) -> None:
    words = "permit files that the build has not written and whose names match, such as '*.md' (repeatable)"
    to.add_argument("--allow", action="append", default=[], metavar="PATTERN", help=words)


def _verify(verify: argparse.ArgumentParser) -> None:
    _of_folders(verify)
    words = "the file of a public key; one of those named must have signed the folder (repeatable)"
    verify.add_argument("--trust", action="append", default=[], type=values.path, metavar="FILE", help=words)
    verify.add_argument(
        "--require-signature", action="store_true", help="fail for a folder without a checked signature"
    )
    words = "run the checks of the build again, on the files as they are now"
    verify.add_argument("--revalidate", action="store_true", help=words)
    words = "with --revalidate: a folder or a file that the build has read, known by its digest (repeatable)"
    verify.add_argument("--source", action="append", default=[], type=values.path, metavar="PATH", help=words)
    verify.add_argument("--offline", action="store_true", help="use no network")
    verify.add_argument("--json", action="store_true", help="print one JSON list, with an object per folder")


def _sign(sign: argparse.ArgumentParser) -> None:
    _of_folders(sign)
    words = "the file of the private key: an elliptic curve, PEM, not encrypted"
    sign.add_argument("--key", required=True, type=values.path, metavar="FILE", help=words)


def _provenance(provenance: argparse.ArgumentParser) -> None:
    provenance.add_argument(
        "folder", type=values.path, metavar="DIR", help="a folder that a run has written, or a copy of it"
    )
    formats = ("cyclonedx", "slsa")
    words = "a bill of materials with a model card, or an in-toto statement (default: cyclonedx)"
    provenance.add_argument("--format", choices=formats, default="cyclonedx", help=words)
    provenance.add_argument(
        "--output", type=values.path, metavar="FILE", help="write to a file instead of to standard output"
    )
    words = "with --format slsa: the URI of what runs your builds"
    provenance.add_argument("--builder", metavar="URI", help=words)
    _allowed(provenance)


def _schema(schema: argparse.ArgumentParser) -> None:
    schema.add_argument(
        "--output", type=values.path, metavar="FILE", help="write the schema to a file instead of to standard output"
    )


def _lock(lock: argparse.ArgumentParser) -> None:
    # Optional for argparse alone: `parse` finds it among the names in `lock --upgrade NAME MANIFEST`.
    lock.add_argument("manifest", nargs="?", type=values.path, metavar="MANIFEST", help="the YAML file")
    _common(lock)
    words = "pin again, all sources or only those of the models and datasets named"
    lock.add_argument("--upgrade", nargs="*", metavar="NAME", help=words)


def _gc(gc: argparse.ArgumentParser) -> None:
    _about_manifest(gc, selectors=False)
    gc.add_argument("-n", "--dry-run", action="store_true", help="only show what would be freed")
    gc.add_argument("--keep-days", type=values.days, metavar="DAYS", help="keep all results younger than this")
    words = "free the oldest results until the store is this small, such as 20GB"
    gc.add_argument("--budget", type=values.size, metavar="SIZE", help=words)


def _cache(cache: argparse.ArgumentParser) -> None:
    whats = ("stats", "verify", "push", "pull", "keygen", "public-key")
    words = "what to do; `keygen` makes a pair of keys, and `public-key` prints the public one of a private key"
    cache.add_argument("what", choices=whats, help=words)
    words = "the YAML file; with public-key: the file of the private key; none with keygen"
    cache.add_argument("manifest", nargs="?", type=values.path, metavar="MANIFEST", help=words)
    cache.add_argument("selectors", nargs="*", metavar="SELECTOR", help=_SELECTORS)
    _common(cache)
    cache.add_argument("--json", action="store_true", help="print the statistics as one JSON object")
    words = "with keygen: the file of the private key (default: onnxbuild-sign.key)"
    cache.add_argument("--output", type=values.path, metavar="FILE", help=words)


def _doctor(doctor: argparse.ArgumentParser) -> None:
    doctor.add_argument("--format", choices=("text", "json"), default="text", help="how to print it")
    doctor.add_argument("--store", type=values.path, metavar="DIR", help="the store whose free space is shown")


def _completion(completion: argparse.ArgumentParser) -> None:
    asked = completion.add_mutually_exclusive_group(required=True)
    asked.add_argument("shell", nargs="?", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")
    words = "print the names in a manifest, for the scripts"
    # An empty name is the manifest that was run last.
    asked.add_argument("--list", dest="listed", metavar="MANIFEST", help=words)
    completion.add_argument("--prefix", default="", metavar="TEXT", help="with --list: how the names begin")


def _help(help_: argparse.ArgumentParser) -> None:
    help_.add_argument("topic", nargs="?", choices=tuple(COMMANDS), metavar="COMMAND", help="the command to explain")


def _compare_exporters(compare: argparse.ArgumentParser) -> None:
    words = "the YAML file, or the folder of a checkpoint"
    compare.add_argument("manifest", type=values.path, metavar="MANIFEST|FOLDER", help=words)
    compare.add_argument("selectors", nargs="*", metavar="MODEL", help="the model, where the manifest has several")
    _common(compare)
    compare.add_argument("--json", action="store_true", help="print one JSON object")
    words = "where the models are written (default: out/compare-exporters/ beside the manifest)"
    compare.add_argument("--out", type=values.path, metavar="DIR", help=words)
    compare.add_argument("-j", "--jobs", type=values.positive, metavar="N", help="actions at once")


def _convert_js(convert: argparse.ArgumentParser) -> None:
    convert.add_argument("model", metavar="MODEL", help="the folder of a checkpoint, or a repository of the Hub")
    words = "which files the package has (default: fp32,fp16,q8,q4): fp32, fp16, q8, int8, uint8, q4, q4f16, bnb4"
    convert.add_argument(
        "--dtypes", type=values.dtypes, default=("fp32", "fp16", "q8", "q4"), metavar="LIST", help=words
    )
    words = "what the package is checked with (default: node): node, wasm, webgpu, none"
    convert.add_argument("--clients", type=values.clients, default=("node",), metavar="LIST", help=words)
    words = "the folder of the package and its manifest (default: MODEL-js)"
    convert.add_argument("--output", type=values.path, metavar="DIR", help=words)
    convert.add_argument("--task", metavar="TASK", help="the model's task (default: what config.json says)")
    words = "also write the text half and the vision half of CLIP or SigLIP, beside the whole model or only these"
    convert.add_argument("--halves", choices=("beside", "only"), help=words)
    words = "also return what times of Whisper's words are computed from"
    convert.add_argument("--word-timestamps", action="store_true", help=words)
    convert.add_argument("-n", "--dry-run", action="store_true", help="only show the manifest, and lint it")
    convert.add_argument("-j", "--jobs", type=values.positive, metavar="N", help="actions at once")
    _common(convert)


def _blame(blame: argparse.ArgumentParser) -> None:
    blame.add_argument("manifest", type=values.path, metavar="MANIFEST", help="the YAML file")
    blame.add_argument("selectors", nargs=1, metavar="MODEL/TARGET", help=_ONE_VARIANT)
    _common(blame)
    blame.add_argument("--json", action="store_true", help="print one JSON object")
    blame.add_argument("-j", "--jobs", type=values.positive, metavar="N", help="actions at once")


COMMANDS: Mapping[str, Command] = {
    "run": Command("build what is not up to date", "run manifests/quickstart.yaml minilm/int8", _run),
    "plan": Command("show the actions, what would run, and why", "plan manifests/quickstart.yaml", _plan),
    "status": Command("show the results of the last runs", "status manifests/quickstart.yaml", _status),
    "lint": Command(
        "report the faults of a manifest without running anything", "lint manifests/quickstart.yaml", _lint
    ),
    "explain": Command(
        "explain why an action was built, what a variant is, or what a code means", "explain minilm/int8", _explain
    ),
    "logs": Command("print the log of an action's last run", "logs minilm/int8:quantize", _logs),
    "graph": Command("draw the actions", "graph manifests/quickstart.yaml --output graph.svg", _graph),
    "report": Command(
        "write the evidence of a build as a page, or as Markdown, JSON or CSV",
        "report manifests/quickstart.yaml --open",
        _report,
    ),
    "card": Command("write a model card for each model, with plots", "card manifests/quickstart.yaml minilm", _card),
    "view": Command("open the graph of a variant in netron", "view manifests/quickstart.yaml minilm/int8", _view),
    "verify": Command(
        "check folders of outputs against their onnxbuild.json and their signatures",
        "verify manifests/out/minilm/int8",
        _verify,
    ),
    "sign": Command("sign folders of outputs", "sign manifests/out/minilm/int8 --key signer.key", _sign),
    "provenance": Command(
        "write what a folder was made from as CycloneDX or SLSA",
        "provenance manifests/out/minilm/int8 --format slsa",
        _provenance,
    ),
    "compare-exporters": Command(
        "build a model with each exporter that can, and compare them",
        "compare-exporters manifests/quickstart.yaml minilm",
        _compare_exporters,
    ),
    "convert-js": Command(
        "convert a model for Transformers.js, and check it with the library",
        "convert-js my-model --dtypes fp32,q8",
        _convert_js,
    ),
    "blame": Command(
        "show which step of a variant breaks its validation, and which nodes",
        "blame manifests/quickstart.yaml minilm/int8",
        _blame,
    ),
    "serve": Command("serve delivered models over HTTP", "serve manifests/quickstart.yaml minilm/int8", _serve),
    "schema": Command("print the JSON Schema of the manifest", "schema --output manifest.schema.json", _schema),
    "lock": Command("resolve and pin what comes from a Hub", "lock manifests/gpt2.yaml", _lock),
    "gc": Command(
        "free the results that no manifest's latest run needs, and the toolchains that no lock file names",
        "gc manifests/quickstart.yaml --dry-run",
        _gc,
    ),
    "cache": Command(
        "show or repair the store; exchange results with the remote store",
        "cache stats manifests/quickstart.yaml",
        _cache,
    ),
    "doctor": Command("show what this machine can do", "doctor", _doctor),
    "completion": Command("print a script that completes commands in a shell", "completion bash", _completion),
    "help": Command("show the help of a command", "help run", _help),
}
