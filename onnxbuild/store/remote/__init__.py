"""The remote store: results that machines share, in a folder that fsspec reaches."""
