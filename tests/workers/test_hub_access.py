"""The token of the Hub in a worker: huggingface_hub sends it to one server, wherever that one redirects to."""

import io
import os
import subprocess
import sys

import pytest
from hub_server import HubServer

pytestmark = pytest.mark.heavy
ENDPOINT = "https://hub.example"


@pytest.fixture
def sent(monkeypatch):
    """Every request that leaves a session: its URL and its token. `answers`: a location for each URL that redirects."""
    requests = pytest.importorskip("requests", reason="huggingface_hub 1.0 no longer uses it")
    import huggingface_hub

    if not hasattr(huggingface_hub, "configure_http_backend"):
        pytest.skip("this huggingface_hub uses httpx")
    from onnxbuild.workers.libraries.hub_access import keep_token_at

    log, answers = [], {}

    def answer(_adapter, request, **_options):
        log.append((request.url, request.headers.get("Authorization")))
        response = requests.Response()
        response.status_code = 302 if request.url in answers else 200
        response.headers["Location"] = answers.get(request.url, "")
        response.request, response.url, response.raw = request, request.url, io.BytesIO()
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", answer)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    keep_token_at(ENDPOINT)
    yield log, answers
    huggingface_hub.configure_http_backend()


def get(url):
    from huggingface_hub.utils import get_session

    return get_session().get(url, headers={"Authorization": "Bearer hush"})


@pytest.mark.parametrize(
    ("url", "token"),
    [
        (f"{ENDPOINT}/a", "Bearer hush"),
        (f"{ENDPOINT}:443/a", "Bearer hush"),
        (f"{ENDPOINT}:444/a", None),
        ("https://cdn.example/a", None),
        ("https://hub.example.evil/a", None),
    ],
)
def test_only_the_endpoint_gets_the_token(sent, url, token):
    log, _ = sent
    get(url)
    assert [one for _, one in log] == [token]


def test_a_redirect_to_another_server_gets_no_token(sent):
    log, answers = sent
    answers[f"{ENDPOINT}/a"] = "https://cdn.example/b"
    get(f"{ENDPOINT}/a")
    assert log == [(f"{ENDPOINT}/a", "Bearer hush"), ("https://cdn.example/b", None)]


@pytest.mark.parametrize("way", ["redirect", "direct"])
def test_https_is_never_left(sent, way):
    """`direct`: as huggingface_hub does it, which reads the location and asks for it with the same headers."""
    log, answers = sent
    answers[f"{ENDPOINT}/a"] = "http://hub.example/b"
    with pytest.raises(OSError, match=r"hub\.example redirects from https to http"):
        get(f"{ENDPOINT}/a" if way == "redirect" else "http://hub.example/b")
    assert all(url.startswith("https:") for url, _ in log)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a\nb"])
def test_a_file_name_that_leads_elsewhere_is_not_downloaded(name):
    from onnxbuild.protocol import CheckFailed
    from onnxbuild.workers.fetch.worker import _check_name

    with pytest.raises(CheckFailed, match="leads out of its folder"):
        _check_name("org/bert", name)


FETCH = """
import sys
from pathlib import Path
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.workers.fetch.worker import run
params = FetchParams(origin="hub", repo="org/bert", revision=sys.argv[1])
print(run(params, {}, {"model": Path(sys.argv[2])}, lambda *_: None))
"""


def test_a_real_download_from_a_second_server_brings_the_file_and_not_the_token(tmp_path):
    files = {"config.json": b"{}", "model.safetensors": b"weights" * 1000}
    with HubServer() as hub, HubServer() as content:
        hub.token = "hush-hush"
        commit = hub.add("org/bert", files)
        content.add("org/bert", files)
        path = f"org/bert/resolve/{commit}/model.safetensors"
        hub.elsewhere = {"model.safetensors": f"{content.endpoint}/{path}"}
        environment = {
            **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf"),
        }  # fmt: skip
        (tmp_path / "model").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", FETCH, commit, str(tmp_path / "model")],
            env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert content.requests == [f"GET /{path}"]
    assert content.tokens_seen == [None]
    assert set(hub.tokens_seen) == {"Bearer hush-hush"}


def test_a_huggingface_hub_on_httpx_sends_the_token_to_the_endpoint_alone(monkeypatch):
    """From 1.0 on, its clients come from a factory. Tried by hand with 2.4.0, too."""
    httpx = pytest.importorskip("httpx", reason="the extra `remote` brings it")
    from onnxbuild.workers.libraries.hub_access import keep_token_at

    log, factories = [], []
    answers = {f"{ENDPOINT}/a": "https://cdn.example/b", f"{ENDPOINT}/down": "http://hub.example/b"}

    def answer(request):
        log.append((str(request.url), request.headers.get("Authorization")))
        location = answers.get(str(request.url))
        return httpx.Response(302, headers={"Location": location}) if location else httpx.Response(200)

    def client():
        return httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True)

    monkeypatch.setattr("huggingface_hub.utils._http.default_client_factory", client, raising=False)
    monkeypatch.setattr("huggingface_hub.set_client_factory", factories.append, raising=False)
    keep_token_at(ENDPOINT)
    with factories[0]() as made:
        made.get(f"{ENDPOINT}/a", headers={"Authorization": "Bearer hush"})
        made.get(f"{ENDPOINT}:444/x", headers={"Authorization": "Bearer hush"})
        with pytest.raises(OSError, match="redirects from https to http"):
            made.get(f"{ENDPOINT}/down", headers={"Authorization": "Bearer hush"})
    sent = [f"{ENDPOINT}/a", f"{ENDPOINT}/down"]
    assert log == [(sent[0], "Bearer hush"), ("https://cdn.example/b", None), (f"{ENDPOINT}:444/x", None),
                   (sent[1], "Bearer hush")]  # fmt: skip
