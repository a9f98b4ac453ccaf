"""Where a model comes from, beyond its files: what its source states about itself."""
