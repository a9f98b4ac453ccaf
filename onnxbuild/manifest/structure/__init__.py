"""The structural check of a document: msgspec accepts what is valid, jsonschema finds every fault."""
