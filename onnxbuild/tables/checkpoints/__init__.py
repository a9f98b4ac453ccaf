"""What the files of a checkpoint say: shards and their index, adapters, quantized weights."""
