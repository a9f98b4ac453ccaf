"""The environment of a worker: an allow-list of variables, and how its interpreter is started.

A variable that no worker needs stays with the command, so that no token, key or password reaches the code of a library,
an exporter or a checkpoint.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Mapping

from onnxbuild.passed_variables import NETWORK, SYSTEM, chosen, further

# Threads, kernels, caches and devices of the frameworks.
_FRAMEWORKS = (
    "OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "NUMEXPR_*", "VECLIB_*", "MALLOC_*",
    "CUDA_*", "CUDNN_*", "NVIDIA_*", "TENSORRT_*", "HIP_*", "HSA_*", "ROCR_*", "ROCM_*", "ORT_*", "ORTMODULE_*",
    "TORCH_*", "TORCHINDUCTOR_*", "TORCHDYNAMO_*", "PYTORCH_*", "ATEN_*", "TRITON_*", "TRANSFORMERS_*",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE",
    "HF_MODULES_CACHE", "HUGGINGFACE_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME",
)  # fmt: skip
# Where npm gets the clients that check packages; what npm logs in with is in a file.
_NPM = ("NPM_CONFIG_USERCONFIG", "NPM_CONFIG_REGISTRY", "NPM_CONFIG_CAFILE")
# Only a worker that fetches or publishes sees them.
_TOKENS = ("HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_*", "HF_XET_*", "AWS_*")
# Lists of folders, and whether an empty name is one: a worker must find the programs and libraries that planning found.
_SEARCHED = {"PATH": True, "LD_LIBRARY_PATH": False}
_FIXED = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.31 reports to a server, and leaves a device id in the home
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    # Tracing a model iterates over sets of strings, and the order of the nodes follows the order of the strings.
    "PYTHONHASHSEED": "0",
    # torch.compile keeps the path of a header for the whole process, in the folder of the action that compiled first.
    "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
}


def of_worker(environ: Mapping[str, str], threads: int, *, network: bool) -> dict[str, str]:
    """The variables of a worker: quiet, without telemetry, with as many threads as it may use."""
    patterns = (*SYSTEM, *_FRAMEWORKS, *_NPM, *((*NETWORK, *_TOKENS) if network else ()), *further(environ))
    passed = chosen(environ, patterns)
    searched = {name: _absolute(passed[name], empty=empty) for name, empty in _SEARCHED.items() if passed.get(name)}
    return {"OMP_NUM_THREADS": str(threads), **passed, **searched, **_FIXED}


def _absolute(folders: str, *, empty: bool) -> str:
    """A list of folders, from the working folder of the command: a worker runs in another one."""
    return os.pathsep.join(os.path.abspath(one) for one in folders.split(os.pathsep) if one or empty)


def start_options(interpreter: str) -> list[str]:
    """The options that a worker's interpreter is started with.

    They have the effect of `-I`, which itself cannot be used because it also ignores PYTHONHASHSEED: no folder of the
    script or of the user on the path, and no variables except those in this module. Our own interpreter keeps the
    user's packages if the command has them: the versions in keys are those that the command finds.
    """
    options = ["-P", "-u"] if _keeps_user_site(interpreter) else ["-P", "-u", "-s"]
    return [*options, *(["-B"] if sys.dont_write_bytecode else []), *(["-X", "utf8"] if sys.flags.utf8_mode else [])]


def import_folders(interpreter: str, environ: Mapping[str, str]) -> list[str]:
    """The folders of PYTHONPATH, for a worker of the interpreter that runs this command; another has its own packages.

    A relative folder is left out: it would depend on the working folder, which may be somebody else's.
    """
    if interpreter != sys.executable or sys.flags.ignore_environment:
        return []
    moved = [site.getusersitepackages()] if _keeps_user_site(interpreter) and "PYTHONUSERBASE" in environ else []
    return [folder for folder in environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(folder)] + moved


def _keeps_user_site(interpreter: str) -> bool:
    return interpreter == sys.executable and bool(site.ENABLE_USER_SITE)
