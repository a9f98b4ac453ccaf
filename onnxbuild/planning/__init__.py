"""From a manifest to a graph of actions: sources pinned, steps expanded, what was selected."""
