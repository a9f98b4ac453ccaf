"""The token of the Hub in a worker: huggingface_hub sends it to one server, wherever that one redirects to."""

import io

import pytest

pytestmark = pytest.mark.heavy
ENDPOINT = "https://hub.example"


@pytest.fixture
def sent(monkeypatch):
    """Every request that leaves a session: its URL and its token. `answers`: a location for each URL that redirects."""
    requests = pytest.importorskip("requests", reason="huggingface_hub 1.0 no longer uses it")
    import huggingface_hub

    if not hasattr(huggingface_hub, "configure_http_backend"):
        pytest.skip("this huggingface_hub uses httpx")
    from onnxbuild.workers.fetch.hub_access import keep_token_at

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
