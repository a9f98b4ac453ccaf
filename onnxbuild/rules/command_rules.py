"""Codes of the command line: found by the commands, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB018", "nothing-selected", """
        A selector or a name on the command line matches nothing.

        Why: a run that does nothing because of a misspelt name would look like success.
        Bad:
            onnxbuild run models.yaml minilm/int-8
        Good:
            onnxbuild run models.yaml minilm/int8
        """),
    described("OB041", "no-such-code", """
        `explain` was given a code that does not exist.

        Fix: see the page reference/codes of the documentation, which lists all codes.
        """),
    described("OB042", "no-manifest-run", """
        `explain` or `logs` was given an action, and no manifest that could contain it has been run here, or
        the one that was run last no longer exists.

        Fix: name the manifest: `onnxbuild explain ID -m MANIFEST`.
        """),
    described("OB639", "nothing-to-compare", """
        `compare-exporters` was given a model that the manifest does not have, a manifest with several models and no
        name, or a folder that is not a checkpoint.

        Bad:
            onnxbuild compare-exporters models.yaml miniml
        Good:
            onnxbuild compare-exporters models.yaml minilm
        """),
    described("OB670", "nobody-to-blame", """
        `blame` was given names of several variants, or of none.

        Why: it validates the result of every step of one variant.
        Bad:
            onnxbuild blame models.yaml minilm
        Good:
            onnxbuild blame models.yaml minilm/int8
        """),
    described("OB671", "blames-without-a-check", """
        `blame` was given a variant that is not validated, so there is no bound that a step could break.

        Fix: remove `validate: false` from the model or the target.
        """),
    described("OB680", "unclear-view", """
        `view` was given names of several variants, or a variant with several graphs and no `--graph`, or the name of a
        graph that the variant does not have.

        Why: netron shows one graph.
        Bad:
            onnxbuild view models.yaml t5
        Good:
            onnxbuild view models.yaml t5/o2 --graph encoder_model.onnx
        """),
    described("OB681", "nothing-finished", """
        `view` was given a variant whose folder has no graph, or `card` a model of which no variant is finished. `card`
        warns of it where the folder of a variant that the card describes is missing.

        Why: both show what a run has delivered. A variant that failed its validation is not delivered.
        Fix: `onnxbuild run MANIFEST MODEL`. If the outputs are in another folder than `out/`, `view` needs `--out DIR`.
        """),
    described("OB682", "source-card-unread", """
        The model card of a source on the Hub could not be read.

        Why: the license, the language and the tags of a card are those that the source states. Without them, the card
        is written without these fields, because nothing is guessed.
        Fix: run `onnxbuild card` again with a network, and without `--offline`.
        """),
    described("OB683", "no-netron", """
        `view` shows a graph in netron, which is not installed.

        Fix: `pip install 'onnxbuild[view]'`. A delivered graph is an ordinary ONNX file, so any other viewer opens it.
        """),
    described("OB684", "cannot-view", """
        netron cannot listen on the port, or cannot show a file with this name.

        Why: another program uses the port, or it is one of the system's. netron writes the name of a file into its page
        as it is, so a name that could be HTML is refused.
        Fix: name another port with `--port N`, or leave it out. Copy the file under another name.
        """),
    described("OB739", "unusable-certificate", """
        The certificate and the private key of `serve` cannot be used: only one is named, a file is missing or is not
        PEM, the key has a password, or it is the key of another certificate.

        Why: a server that was meant to speak HTTPS should not open a model and then fail, or speak HTTP.
        Fix: name both with `--tls-cert` and `--tls-key`. The first file has the certificate of the server, then those
        between it and a root.
        """),
    described("OB740", "unclear-what-to-serve", """
        `serve` was given no model of a manifest that has several, a model with several variants and no `select:`, a
        name that the manifest does not have, or one variant twice.

        Why: a server should offer what its user has chosen, and no other precision.
        Bad:
            onnxbuild serve models.yaml minilm
        Good:
            onnxbuild serve models.yaml minilm/int8
        """),
    described("OB741", "nothing-to-serve", """
        `serve` found no delivered model in a folder.

        Why: it serves what `onnxbuild run` has written and checked, and builds nothing.
        Fix: run the manifest first, or name a folder with an `onnxbuild.json`.
        """),
    described("OB742", "served-files-changed", """
        Files in a delivered folder are not those that its `onnxbuild.json` lists: one was changed or removed, or a
        file that the server would read was added.

        Why: what was validated is what should be served. An added `sentence_bert_config.json`, say, would cut texts.
        Fix: run the manifest again, which repairs the folder; or copy the folder as a whole. Remove what was added.
        """),
    described("OB743", "cannot-serve-model", """
        A delivered model cannot be opened by the server. The message has the reason: for example, its task has no
        address, the folder has several graphs or no `tokenizer.json`, or `session.json` sets what `tune` never sets.

        Fix: the page how-to/serve of the documentation lists which models can be served.
        """),
    described("OB744", "serves-an-old-build", """
        What `serve` offers is the last build, and the manifest or its inputs have changed since.

        Fix: `onnxbuild run`. The server takes the new build without losing a request.
        """, severity="warning"),
    described("OB745", "cannot-listen", """
        The server cannot use the address: another program listens there, the port needs more rights, or the machine
        does not have the address.

        Fix: name another one with `--host` and `--port`; `--port 0` takes any free port.
        """),
    described("OB746", "no-server-packages", """
        A package of the server cannot be imported.

        Fix: `pip install 'onnxbuild[serve]'`, in the environment of the command.
        """),
    described("OB747", "open-server", """
        The server listens on an address that other machines can reach, and asks for no API key.

        Fix: name a file of keys with `--api-keys`, or set `ONNXBUILD_API_KEYS`; or listen on 127.0.0.1 behind a proxy.
        """, severity="warning"),
    described("OB748", "no-api-keys", """
        The file of API keys cannot be read, or has no key.

        Why: a server that was meant to have keys should not start without.
        Fix: write one key per line. Empty lines and lines that begin with `#` are no keys.
        """),
    described("OB749", "serves-unvalidated", """
        A model was delivered without validation, so nobody knows whether it computes what its source does.

        Bad:
            validate: false
        Fix: remove it, and build again.
        """, severity="warning"),
    described("OB085", "refused-by-the-system", """
        The system refused to read or write something, and no other code names the place.

        Why: a folder has disappeared or is not yours, a disk is full or broken, or a path is too long.
        Fix: the message names the path and the reason; `--store DIR` and `--out DIR` choose other places.
        """),
    described("OB086", "undecodable-name", """
        A name or a text contains bytes that are not UTF-8.

        Why: names become part of keys, lock files and JSON, which can contain only Unicode text.
        Fix: rename the file or the folder, or save the text as UTF-8.
        """),
    described("OB087", "nested-too-deeply", """
        Something in the input is nested more deeply than onnxbuild can follow.

        Fix: make lists, tables and folders less deep.
        """),
    described("OB088", "command-out-of-memory", """
        The command itself ran out of memory.

        Fix: run fewer actions at once (`-j 1`), or use a machine with more memory.
        """),
    described("OB064", "out-in-store", """
        The output folder is inside the store or the state folder, or a model's folder in it would contain one of them.

        Why: the files of a model replace what is in its folder, and the store treats files that it does not know as
        leftovers.
        Fix: name another folder with `--out DIR`.
        Bad:
            onnxbuild run models.yaml --out .onnxbuild
        Good:
            onnxbuild run models.yaml --out models
        """),
    described("OB063", "bad-user-config", """
        The user's configuration file, `~/.config/onnxbuild/config.toml`, cannot be read or has an unknown key.

        Why: it says what manifests may reach, so onnxbuild neither guesses nor ignores any part of it.
        Bad:
            allow_path = "~/models"
        Good:
            allow_paths = ["~/models"]
        """),
    described("OB090", "linked-out-folder", """
        The folder `out/` beside the manifest, or the folder of a model or target in it, is a symbolic link.

        Why: in somebody else's checkout, the link can lead anywhere, and a run replaces folders below it.
        Bad:
            ln -s /data/models out
            onnxbuild run models.yaml
        Good:
            onnxbuild run models.yaml --out /data/models
        """),
    described("OB646", "own-output-as-source", """
        A source, a dataset, an included file or an exporter is in a folder that the same manifest writes.

        Why: a run reads all sources before it writes outputs. So the result would always be made from the outputs of
        the run before, or a model would be made from itself.
        Fix: write the steps that belong together as one target, or name the source that the output is made from. To
        begin from a finished output, use a second manifest, or copy the output to another folder.
        Bad:
            models: {base: {source: "hub:org/base"}, second: {source: "onnx:out/base/a"}}
        Good:
            models: {base: {source: "hub:org/base"}, second: {source: "onnx:kept/base"}}
        """),
    described("OB647", "no-out-folder", """
        The output folder, or the folder of a model or target below it, is a file, or cannot exist.

        Why: nothing could be written there, which a run would notice only after everything was built.
        Fix: move the file elsewhere, or name another folder with `--out DIR` (`--output DIR` for `card`).
        """),
    described("OB092", "no-plots", """
        The page of a report, its plots and those of a card need matplotlib and Jinja, and one of them is not installed.

        Why: the core of onnxbuild has few dependencies. Markdown, CSV and JSON need neither of the two.
        Fix: `pip install 'onnxbuild[report]'`, or `onnxbuild report MANIFEST --format markdown`, or
        `onnxbuild card MANIFEST --no-plots`.
        """),
    described("OB093", "no-such-build", """
        `report --compare` or `run --against` names something that is not a build.

        A build is a manifest (its last results), a report that `onnxbuild report --format json` wrote, a folder of
        outputs with an `onnxbuild.json`, `REVISION:FILE` with such a file as git has it, or, beside a manifest, a
        revision of git: what the manifest describes there.
        """),
    described("OB700", "not-in-the-store", """
        `report --compare` or `run --against` names a revision of git, and the store has no result of it.

        Why: the results of a revision are found by their keys, and never built, which may take hours. A change of a
        package's version, of the machine (for measurements) or a collection of garbage leaves nothing to be found.
        Fix: build the revision with this store, for example in a `git worktree`, with `run --store DIR`. Or compare
        with a report that was saved then: `onnxbuild report MANIFEST --output FILE.json`.
        """),
    described("OB701", "revision-cannot-be-planned", """
        `report --compare` or `run --against` names a revision of git whose manifest cannot be planned here.

        Why: the revision may lack the manifest, or name a source that is missing now. Links and submodules of a
        revision are left out, and files of Git LFS are the pointers that git has.
        Fix: compare with a report in JSON or a folder of outputs of that build.
        """),
    described("OB695", "no-variant-in-common", """
        `run --against` names a build that has no variant of this run, and the manifest has `regressions:`.

        Why: no bound could be judged, so an exit code of 0 would say of a regression that there is none.
        Fix: name a build of this manifest. After renaming models or targets, save a new one with
        `onnxbuild report MANIFEST --output FILE.json`.
        """),
    described("OB710", "results-of-an-earlier-manifest", """
        `report`, `status` or `card` shows results that do not belong to the manifest as it is now.

        Why: a step, a bound or a source has been edited since the last run. The tables have what was measured then,
        and the params that it was measured with. `card` refuses them, because a card is published.
        Fix: `onnxbuild run MANIFEST`. Other versions of packages or another machine are no such change: a report names
        those that took part.
        """),
    described("OB711", "result-not-in-the-store", """
        A file of a finished variant is missing in the store or damaged, or the delivered graph that `view` shows was
        changed.

        Why: the figures of a report and a card are those of the files that were built. `card` reads every file.
        `report` reads only those that were written to since, because it may have hundreds of variants.
        Fix: `onnxbuild cache verify MANIFEST` removes what is damaged, and `onnxbuild run MANIFEST` makes it again.
        """),
    described("OB750", "no-account", """
        `verify`, `sign` or `provenance` names something that is not a folder of outputs with an `onnxbuild.json`.

        Why: the file lists what the folder has to contain. A link is not followed, because its target can be changed
        without a change of the folder; a damaged file cannot be trusted in part.
        Fix: name the folder of one variant, such as `out/minilm/int8`, or a copy of it. A download from a Hub needs
        `hf download REPO --local-dir DIR`: in the cache of a Hub, every file is a link.
        """),
    described("OB751", "folder-differs", """
        A file of a delivered folder is missing, has other content, was added, or is a link or a device.

        Why: what was validated is the listed files. A loader may read an added file as well, such as Python code or
        another tokenizer. A README, a license, a signature and what git and the Hub's downloads write may be there.
        Fix: run the manifest again, or copy the folder again. `--allow PATTERN` permits files that were added on
        purpose.
        """),
    described("OB752", "signature-refused", """
        The signature of a folder is missing although one is required, or no trusted key has made it for these files.

        Why: whoever can change a file can also change the digest of it in `onnxbuild.json`. Only a signature shows
        that. `--trust FILE` and `--require-signature` require one.
        Fix: get the folder again from its signer, or name the public key of the signer with `--trust`.
        """),
    described("OB753", "signature-unchecked", """
        A folder has a signature, and no key was named to check it.

        It is a warning, and an error with `--require-signature`.
        Why: a key that comes with the folder would prove nothing.
        Fix: get the public key of the signer in another way, and name its file: `--trust signer.pub`.
        """),
    described("OB754", "cannot-sign", """
        A key cannot be used, the package `model-signing` is missing, or a signature cannot be written.

        Keys are files in PEM with a key of the elliptic curves P-256, P-384 or P-521.
        Fix: `pip install 'onnxbuild[signing]'`; `openssl ecparam -name prime256v1 -genkey -noout -out signer.key` makes
        a private key, and `openssl ec -in signer.key -pubout -out signer.pub` the public key of it.
        """),
    described("OB091", "not-pruned", """
        An output folder that the manifest no longer names could not be removed.

        Fix: correct its permissions, or remove it by hand. The models themselves were built and written.
        """),
)  # fmt: skip
