"""The server of the package `server`, which has copies of these files: one model, one process, no batching."""
