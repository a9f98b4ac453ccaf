import pytest
from serving import build, serving


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    return build(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def out(manifest):
    return manifest.parent / "out"


@pytest.fixture(scope="session")
def server(out):
    names = ("minilm", "embedder", "ranker", "classifier", "tagger", "gpt", "llama")
    with serving(*(out / name / "fp32" for name in names), "--threads", "1") as server:
        yield server
