"""From text to a `Manifest`: YAML with spans, the typed language, its schema."""
