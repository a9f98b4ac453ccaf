"""The state folder beside a manifest: whether it may be believed, and what no run may write over."""
