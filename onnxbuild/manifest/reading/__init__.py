"""From the bytes of manifest files to one document: files, YAML, scalars, includes."""
