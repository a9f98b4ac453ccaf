"""`onnxbuild schema`: the JSON Schema of the manifest."""

from __future__ import annotations

import json

from onnxbuild.commands.workspace import write_result
from onnxbuild.manifest.json_schema import manifest_schema, step_schemas
from onnxbuild.steps import KINDS, Kinds, all_kinds


def schema_text(kinds: Kinds = KINDS) -> str:
    """The text of schemas/manifest.schema.json."""
    return json.dumps(manifest_schema(step_schemas(kinds)), indent=2, ensure_ascii=False) + "\n"


def run_schema(*, output: str | None = None) -> int:
    """Print the schema or write it to a file, with the step kinds of installed plugins; return the exit code.

    Errors: DiagnosticError.
    """
    write_result(schema_text(all_kinds()), output)
    return 0
