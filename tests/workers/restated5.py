"""Run by the toolchain of transformers 5: how far each model is from itself with the parts that tracing needs.

Prints one JSON object: the largest difference of each from the model as transformers has it, over inputs of several
sizes, relative to its largest output, and how many parts were restated.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "breadth"))
from checkpoints import _config, head, spread

from onnxbuild.workers.export.tracing.restated import _places, restated

MODELS = {
    "dbrx": "text-generation",
    "longcat_flash": "text-generation",
    "openai_privacy_filter": "token-classification",
    "llama4_text": "text-generation",
    "cpmant": "text-generation",
    "recurrent_gemma": "text-generation",
    "rwkv": "text-generation",
    "focalnet": "image-classification",
    "switch_transformers": "text2text-generation",
}
SIZES = {"image-classification": ((48, 48), (52, 56), (50, 49))}


def inputs(task, size):
    if task == "image-classification":
        return {"pixel_values": torch.randn(2, 3, *size)}
    ids = torch.randint(6, 300, (2, size))
    ids[1, : size // 3] = 0  # padding on the left
    return {"input_ids": ids, "decoder_input_ids": ids} if task.startswith("text2text") else {"input_ids": ids}


def difference(model_type, task):
    torch.manual_seed(0)
    config = _config(model_type, task)
    model = head(task, config).from_config(config).eval()
    spread(model)
    worst = 0.0
    for size in SIZES.get(task, (1, 5, 40)):
        given = inputs(task, size)
        cache = {} if task == "image-classification" or model_type == "openai_privacy_filter" else {"use_cache": False}
        wanted = model(**given, **cache).logits
        with restated(model):
            found = model(**given, **cache).logits
        worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max()))
    return worst, len(list(_places(model)))


with torch.no_grad():
    print(json.dumps({name: difference(name, task) for name, task in MODELS.items()}))
