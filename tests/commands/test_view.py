"""The command `view`: the real netron on loopback, and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from plugin.world import Ended, World

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.view import ViewOptions, _chosen, _served
from onnxbuild.diagnostics import DiagnosticError

STEPS = {"one": [{"text": "1"}], "two": [{"text": "22"}]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("view"))
    made.manifest(STEPS)
    assert made.run().code == 0
    return made


def viewed(world: World, *arguments: str) -> Ended:
    return world.run(*arguments, "--no-browser", verb="view")


@contextmanager
def serving(world: World, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command while it serves, and its address."""
    pytest.importorskip("netron")
    process = world.start(*arguments, "--no-browser", verb="view")
    try:
        line = process.stderr.readline()  # type: ignore[union-attr]
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.stderr.read()  # type: ignore[union-attr]
        yield process, found[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        content: bytes = answer.read()
        return content


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way on Windows")
def test_netron_shows_the_delivered_graph_on_loopback_until_it_is_interrupted(world: World) -> None:
    with serving(world, "m/one") as (process, address):
        page = fetched(address).decode()
        assert '<meta name="file" content="/data/model.onnx">' in page
        assert fetched(f"{address}/data/model.onnx") == (world.root / "out" / "m" / "one" / "model.onnx").read_bytes()
        port = int(address.rpartition(":")[2])
        others = [one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
        for host in {one for one in others if not one.startswith("127.")}:
            with pytest.raises(ConnectionError), socket.create_connection((host, port), timeout=5):
                pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_the_port_is_the_one_that_was_asked_for_and_one_in_use_is_refused(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = viewed(world, "m/one", "--port", str(port))
    assert done.code == 1
    assert f"OB684 netron cannot listen on port {port} of 127.0.0.1" in done.err
    with serving(world, "m/one", "--port", str(port)) as (_, address):
        assert address.endswith(f":{port}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m"], "OB680 which variant to view is not clear\n  = hint: name one of m/one, m/two"),
        (["m/three"], "OB018 the selector `m/three` matches nothing"),
        (["m/one", "--graph", "modle"], "OB680 `m/one` has no graph `modle`"),
        (["m/one", "--out", "elsewhere"], "OB681 no graph of `m/one` is in `elsewhere/m/one`"),
        (["m/one", "--port", "70000"], "expected a port from 0 to 65535"),
    ],
)
def test_what_cannot_be_viewed(world: World, arguments: list[str], message: str) -> None:
    done = viewed(world, *arguments)
    assert (done.code, message in done.err) == (2, True), done


def test_without_netron_it_says_what_to_install(world: World) -> None:
    hidden = "import sys; sys.modules['netron'] = None; from onnxbuild.cli import main; main(sys.argv[1:])"
    done = world.run_arguments(
        [sys.executable, "-c", hidden, "view", "manifest.yaml", "m/one", "--store", str(world.store)]
    )
    assert done.code == 2
    assert "OB683 `view` needs netron" in done.err
    assert "hint: `pip install 'onnxbuild[view]'`" in done.err


ASKED = Asked("m.yaml")


def test_one_of_several_graphs_is_named(tmp_path: Path) -> None:
    for name in ("encoder_model.onnx", "decoder_model.onnx"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    assert _chosen(tmp_path, "m/one", ASKED, "encoder_model").name == "encoder_model.onnx"
    assert _chosen(tmp_path, "m/one", ASKED, "decoder_model.onnx").name == "decoder_model.onnx"
    with pytest.raises(DiagnosticError) as failed:
        _chosen(tmp_path, "m/one", ASKED, None)
    (one,) = failed.value.diagnostics
    assert (one.code, one.message) == ("OB680", "`m/one` has 2 graphs")
    assert one.notes == (("hint", "`--graph` takes one of decoder_model.onnx, encoder_model.onnx"),)


@pytest.mark.skipif(sys.platform == "win32", reason="no such names on Windows")
def test_a_name_that_could_be_html_and_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'a"><script>.onnx').write_bytes(b"x")
    with pytest.raises(DiagnosticError) as failed:
        _chosen(tmp_path, "m/one", ASKED, None)
    assert failed.value.diagnostics[0].code == "OB684"
    (tmp_path / "linked").mkdir()
    os.symlink("/etc/hostname", tmp_path / "linked" / "model.onnx")
    with pytest.raises(DiagnosticError) as failed:
        _chosen(tmp_path / "linked", "m/one", ASKED, None)
    assert failed.value.diagnostics[0].code == "OB681"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_draws_the_graph_and_asks_no_other_server(tmp_path: Path) -> None:
    """netron's page reports how it is used; the browser must refuse that."""
    netron = pytest.importorskip("netron")
    from onnx import TensorProto, helper, save
    from playwright.sync_api import sync_playwright

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("spam", "eggs")]
    graph = helper.make_graph([helper.make_node("Identity", ["spam"], ["eggs"])], "g", values[:1], values[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "model.onnx")
    address = _served(netron, tmp_path / "model.onnx", ViewOptions(browser=False))
    answered: list[str] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page()
            refused: list[str] = []
            page.on("console", lambda message: refused.append(message.text))
            page.on("requestfinished", lambda request: answered.append(request.url))
            page.goto(address)
            page.click("#message-button", timeout=60_000)  # that it may report, which it cannot
            page.wait_for_selector("svg text", state="attached", timeout=60_000)
            page.get_by_text("Identity").first.wait_for(state="attached", timeout=60_000)
            page.wait_for_load_state("networkidle")
            browser.close()
    finally:
        netron.stop()
    assert any(one.startswith(f"{address}/data/model.onnx") for one in answered)
    assert [one for one in answered if not one.startswith((address, "data:", "blob:"))] == []
    assert any("Content Security Policy" in one for one in refused), refused


def test_a_browser_is_started_unless_it_is_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netron = pytest.importorskip("netron")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"x")
    before = set(threading.enumerate())  # a test before this one may have left some
    addresses = [_served(netron, graph, ViewOptions(browser=browser)) for browser in (True, False)]
    try:
        assert opened == addresses[:1]
    finally:
        netron.stop()
    assert [thread for thread in threading.enumerate() if thread not in before and not thread.daemon] == []
