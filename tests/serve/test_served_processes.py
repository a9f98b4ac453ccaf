"""What happens to requests when processes end, clients leave, or a build replaces the folder."""

import concurrent.futures
import os
import shutil
import signal
import socket
import threading

import psutil
import pytest
from serving import answer_on, serving

from onnxbuild.deliver.replacement import replace_folder

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP"),
]

ONE_AT_A_TIME = ("--max-batch", "1", "--max-wait", "0")
LONG = {"prompt": "The boats", "max_tokens": 240, "temperature": 0}


def test_a_killed_process_loses_only_what_it_had(out):
    with serving(out / "embedder" / "fp32", *ONE_AT_A_TIME) as server:
        (worker,) = server.workers()
        worker.suspend()
        lost = [server.begin("/v1/embeddings", {"input": f"lost {number}"}) for number in range(2)]
        server.wait_for("onnxbuild_running", 2)
        waiting = [server.begin("/v1/embeddings", {"input": f"waits {number}"}) for number in range(3)]
        server.wait_for("onnxbuild_waiting", 3)
        worker.kill()
        for one in map(answer_on, lost):
            assert (one.status, one.json["error"]["code"]) == (503, "worker_lost")
            assert one.headers["retry-after"] == "1"
        assert [answer_on(one).status for one in waiting] == [200] * 3
        assert server.request("/readyz").status == 200
        assert server.metric("onnxbuild_restarts_total") == 1
        (other,) = server.workers()
        assert other.pid != worker.pid


def test_the_other_process_goes_on_while_one_is_replaced(out):
    with serving(out / "embedder" / "fp32", "--workers", "2") as server:
        first, _ = server.workers()
        first.kill()
        server.wait_for("onnxbuild_restarts_total", 1)  # until then, it may be given a request
        answers = [server.request("/v1/embeddings", {"input": f"text {number}"}) for number in range(20)]
        assert [one.status for one in answers] == [200] * 20
        server.wait_for("onnxbuild_processes", 2)


def test_a_stream_whose_process_is_killed_ends_with_an_error(out):
    with serving(out / "gpt" / "fp32") as server:
        (worker,) = server.workers()
        sent = server.begin("/v1/completions", {**LONG, "stream": True})
        first = sent.recv(100)
        assert first.startswith(b"HTTP/1.1 200")
        worker.suspend()
        worker.kill()
        rest = b""
        while b"data: [DONE]" not in rest:
            piece = sent.recv(65536)
            assert piece, rest
            rest += piece
        sent.close()
        # The completion may have been over before the signal came.
        assert b'"code":"worker_lost"' in rest or b'"finish_reason":"length"' in rest
        server.wait_for("onnxbuild_processes", 1)
        assert server.request("/v1/completions", LONG).status == 200


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_computed_for_a_client_that_has_left(out, stream):
    with serving(out / "gpt" / "fp32", "--max-sequences", "1") as server:
        (worker,) = server.workers()
        worker.suspend()
        running = server.begin("/v1/completions", {**LONG, "stream": stream})
        server.wait_for("onnxbuild_running", 1)
        waiting = server.begin("/v1/completions", {**LONG, "stream": stream})
        server.wait_for("onnxbuild_waiting", 1)
        waiting.close()
        server.wait_for("onnxbuild_waiting", 0)
        running.close()
        server.wait_for("onnxbuild_running", 0)
        worker.resume()
        assert server.request("/v1/completions", LONG).status == 200
        assert worker.is_running()


def test_a_reader_of_a_stream_that_leaves_in_the_middle_stops_it(out):
    with serving(out / "gpt" / "fp32", "--max-tokens", "200") as server:
        (worker,) = server.workers()
        sent = server.begin("/v1/completions", {**LONG, "max_tokens": 200, "stream": True})
        assert sent.recv(100)
        worker.suspend()
        sent.close()
        server.wait_for("onnxbuild_running", 0)
        worker.resume()


def test_items_of_a_client_that_has_left_do_not_wait(out):
    with serving(out / "embedder" / "fp32", *ONE_AT_A_TIME) as server:
        (worker,) = server.workers()
        worker.suspend()
        sent = [server.begin("/v1/embeddings", {"input": f"text {number}"}) for number in range(2)]
        server.wait_for("onnxbuild_running", 2)
        server.begin("/v1/embeddings", {"input": ["gone"] * 5}).close()
        server.wait_for("onnxbuild_waiting", 0)
        worker.resume()
        assert [answer_on(one).status for one in sent] == [200, 200]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_answered_before_the_server_ends(out, number):
    with serving(out / "embedder" / "fp32") as server:
        (worker,) = server.workers()
        worker.suspend()
        sent = [server.begin("/v1/embeddings", {"input": f"text {one}"}) for one in range(4)]
        server.wait_for("onnxbuild_waiting", 0)
        server.process.send_signal(number)
        while listens(server.port):
            pass
        worker.resume()
        assert [answer_on(one).status for one in sent] == [200] * 4
        assert server.process.wait(30) == 0
        assert not worker.is_running()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_killed_server_leaves_no_process(out):
    with serving(out / "embedder" / "fp32") as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait(30)
        assert psutil.wait_procs(workers, timeout=30)[1] == []


def test_a_new_build_takes_over_and_no_request_is_lost(out, tmp_path):
    folder = tmp_path / "out" / "embedder" / "fp32"
    shutil.copytree(out / "embedder" / "fp32", folder)
    with serving(folder, "--reload", "0.05") as server:
        stop, statuses, vectors = threading.Event(), [], set()

        def ask():
            while not stop.is_set():
                answer = server.request("/v1/embeddings", {"input": "a ship", "encoding_format": "base64"})
                statuses.append(answer.status)
                vectors.add(answer.json["data"][0]["embedding"])

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            before = vector_of(server)
            replace_folder(folder, lambda fresh: shutil.copytree(out / "other" / "fp32", fresh, dirs_exist_ok=True))
            while (after := vector_of(server)) == before:
                pass
            while server.metric("onnxbuild_processes") != 1 or len(server.workers()) != 1:
                pass
            stop.set()
            for one in asking:
                one.result()
        assert set(statuses) == {200}
        assert vectors <= {before, after}
        assert vector_of(server) == after
        assert any("was built again" in line for line in server.log)


def vector_of(server):
    answer = server.request("/v1/embeddings", {"input": "a ship", "encoding_format": "base64"})
    return answer.json["data"][0]["embedding"]


def test_a_new_build_that_cannot_be_served_does_not_take_over(out, tmp_path):
    folder = tmp_path / "out" / "embedder" / "fp32"
    shutil.copytree(out / "embedder" / "fp32", folder)
    with serving(folder, "--reload", "0.05") as server:
        before = vector_of(server)
        (folder / "model.onnx").write_bytes(b"half a file")
        os.utime(folder / "onnxbuild.json", (1, 1))
        while not any("stays as it was" in line for line in server.log):
            assert vector_of(server) == before
        assert vector_of(server) == before
        assert any("`model.onnx` has changed since it was delivered" in line for line in server.log)
