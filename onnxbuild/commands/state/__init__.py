"""The state folder beside a manifest: whether it can be trusted, and which folders no output may overwrite."""
