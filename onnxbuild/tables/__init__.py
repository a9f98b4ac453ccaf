"""Knowledge that can be listed: tasks, thresholds, fusions, file names, model types and failure codes."""
