"""The export of models of one pass that another library than transformers loads: timm, sentence-transformers."""
