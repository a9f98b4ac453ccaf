"""prepare: adapters merged, and quantized weights unpacked, before the export."""
