"""A model card: the README.md of a model's folder, with the metadata that the Hub reads."""
