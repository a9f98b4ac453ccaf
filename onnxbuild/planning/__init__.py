"""From a manifest to a graph of actions: sources are pinned, steps expanded, actions selected."""
