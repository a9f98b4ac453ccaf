"""Inputs of models: samples, sentences, rows of datasets, and the stages that read them."""
