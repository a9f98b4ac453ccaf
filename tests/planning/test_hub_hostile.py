"""What a Hub, or a server that it redirects to, cannot get or do."""

import json
import time
import urllib.request

import pytest
from hostile import Hostile, head

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning import hub as hub_module
from onnxbuild.planning.hub import Hub, _Redirects

COMMIT = "0123456789" * 4


@pytest.fixture
def serve():
    servers = []

    def start(answer):
        servers.append(Hostile(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answering(**about):
    def answer(request):
        data = json.dumps({"sha": COMMIT, "siblings": [], **about}).encode()
        head(request, 200, Content_Length=str(len(data)))
        request.wfile.write(data)

    return answer


def to(where):
    return lambda request: head(request, 302, Location=where(request), Content_Length="0")


def endpoint(server):
    return f"http://127.0.0.1:{server.port}"


def refused(url, token=None):
    with pytest.raises(DiagnosticError) as raised:
        Hub(url, token, sleep=lambda _seconds: None).resolve("org/bert", "main")
    (one,) = raised.value.diagnostics
    assert one.code == "OB110"
    return one.message.removeprefix("`hub:org/bert@main` cannot be resolved: ")


def test_the_token_does_not_follow_to_another_port_and_does_not_come_back(serve):
    target = serve(answering())
    server = serve(to(lambda request: f"{endpoint(target)}{request.path}"))
    assert Hub(endpoint(server), "hush").resolve("org/bert", "main").commit == COMMIT
    assert [seen[2].get("Authorization") for seen in server.seen] == ["Bearer hush"]
    assert [seen[2].get("Authorization") for seen in target.seen] == [None]


def test_the_token_does_not_follow_to_another_name_of_the_host(serve):
    server = serve(lambda request: answer(request))  # noqa: PLW0108 - it is defined below
    moved = f"http://localhost:{server.port}/moved"

    def answer(request):
        (answering() if request.path == "/moved" else to(lambda _request: moved))(request)

    assert Hub(endpoint(server), "hush").resolve("org/bert", "main").commit == COMMIT
    assert [seen[2].get("Authorization") for seen in server.seen] == ["Bearer hush", None]


def test_the_token_follows_within_the_server(serve):
    def answer(request):
        (answering() if request.path == "/moved" else to(lambda _request: "/moved"))(request)

    server = serve(answer)
    assert Hub(endpoint(server), "hush").resolve("org/bert", "main").commit == COMMIT
    assert [seen[2].get("Authorization") for seen in server.seen] == ["Bearer hush"] * 2


def redirected(before, after, **headers):
    request = urllib.request.Request(before, headers={"Authorization": "Bearer hush", **headers})
    return _Redirects().redirect_request(request, None, 302, "Found", {}, after)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("https://hub.example/a", "https://hub.example/b", True),
        ("https://hub.example/a", "https://HUB.example:443/b", True),
        ("http://hub.example/a", "http://hub.example:80/b", True),
        ("http://hub.example/a", "https://hub.example/b", False),
        ("http://hub.example:8080/a", "http://hub.example/b", False),
        ("https://hub.example/a", "https://hub.example.evil/b", False),
        ("https://hub.example/a", "https://evil@hub.example:444/b", False),
        ("https://hub.example/a", "https://hub.example@evil/b", False),
    ],
)
def test_the_token_stays_with_scheme_host_and_port(before, after, kept):
    assert redirected(before, after).has_header("Authorization") is kept


def test_the_password_of_a_proxy_follows_nowhere():
    assert not redirected("http://hub.example/a", "http://hub.example/b", **{"Proxy-authorization": "x"}).has_header(
        "Proxy-authorization"
    )


@pytest.mark.parametrize("after", ["http://hub.example/a", "ftp://hub.example/a", "file:///etc/passwd"])
def test_https_is_never_left(after):
    with pytest.raises(ValueError, match="it redirects from https to http"):
        redirected("https://hub.example/a", after)


@pytest.mark.parametrize("where", ["ftp://127.0.0.1/x", "file:///etc/hostname", "data:,{}"])
def test_no_other_scheme_is_opened(serve, where):
    assert refused(endpoint(serve(to(lambda _request: where)))).startswith("http://127.0.0.1:")


def test_an_endless_chain_of_redirects_ends(serve):
    server = serve(to(lambda request: f"{request.path}x"))
    refused(endpoint(server))
    assert len(server.seen) < 60


def test_an_endpoint_with_a_password_is_refused_without_showing_it():
    assert refused("https://me:hush@hub.example") == "the address in HF_ENDPOINT has a user or a password"


@pytest.mark.parametrize("url", ["http://[::1", "http://host:port", "http://", "ftp://host", "file:///etc"])
def test_an_endpoint_that_is_no_address_is_a_fault(url):
    refused(url)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\nb", "a//b", "x" * 256])
def test_a_file_name_that_leads_elsewhere_is_a_fault(serve, name):
    assert "leads out of its folder" in refused(endpoint(serve(answering(siblings=[{"rfilename": name}]))))


@pytest.mark.parametrize("sha", ["", "main", "0" * 39, "0" * 40 + "\n", ["0" * 40], None, "../" + "0" * 37])
def test_a_commit_is_forty_hexadecimal_digits(serve, sha):
    assert refused(endpoint(serve(answering(sha=sha)))) == "the answer names no commit"


@pytest.mark.parametrize("siblings", [None, 1, "x", {"a": 1}, [1, None, "x", {}, {"rfilename": None}]])
def test_any_list_of_files_is_read(serve, siblings):
    server = serve(answering(siblings=siblings))
    assert Hub(endpoint(server)).resolve("org/bert", "main").files == ()


def test_an_answer_that_does_not_end_is_left(serve):
    def endless(request):
        head(request, 200)
        while not request.hostile.stop.is_set():
            request.wfile.write(b" " * (1 << 20))

    began = time.monotonic()
    assert refused(endpoint(serve(endless))).endswith("its answer does not end")
    assert time.monotonic() - began < 30


def test_an_answer_that_drips_is_left(serve, monkeypatch):
    monkeypatch.setattr(hub_module, "_LONGEST_ANSWER_SECONDS", 0.2)

    def drip(request):
        head(request, 200)
        while not request.hostile.stop.wait(0.02):
            request.wfile.write(b" ")

    assert refused(endpoint(serve(drip))).endswith("its answer does not end")


def test_a_request_names_the_program_and_no_token_where_there_is_none(serve):
    server = serve(answering())
    Hub(endpoint(server)).resolve("org/bert", "main")
    ((method, _path, headers),) = server.seen
    assert (method, headers["User-Agent"], headers.get("Authorization")) == ("GET", "onnxbuild", None)
