"""Parts of the declaration of `quantize`."""
