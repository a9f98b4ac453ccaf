"""Run by the toolchain of transformers 5: whether an encoder of audio, and its decoder, are traced with a mask.

Prints one JSON object: by whether the feature extractor makes masks, the part of each mask that is hidden by part.
"""

import json

from transformers import SpeechT5Config, SpeechT5ForSpeechToText

from onnxbuild.workers.export.tracing.tracing_inputs import encoder_decoder_parts

CONFIG = SpeechT5Config(
    hidden_size=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=3, decoder_attention_heads=3,
    encoder_ffn_dim=20, decoder_ffn_dim=28, vocab_size=97, conv_dim=[16] * 7, num_conv_pos_embedding_groups=4,
    num_conv_pos_embeddings=16,
)  # fmt: skip


def hidden(masks_audio):
    model = SpeechT5ForSpeechToText(CONFIG).eval()
    parts = encoder_decoder_parts(model, with_past=True, masks_audio=masks_audio)
    masks = {part.file: part.inputs.get("attention_mask") for part in parts}
    return {name: None if mask is None else 1 - float(mask.float().mean()) for name, mask in masks.items()}


print(json.dumps({str(masks): hidden(masks) for masks in (True, False)}))
