"""The store: artifacts by content, and traces by key."""
