"""`serve` with a certificate: real clients over HTTPS, and what is refused before a model is opened."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess

import httpx
import pytest
from serving import serving

from onnxbuild.cli import run_command
from onnxbuild.serve.limits_of_server import Tls
from onnxbuild.serve.renewed_certificate import watch_certificate

pytestmark = pytest.mark.heavy


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certified(folder, name, *more):
    """A certificate for loopback that signs itself, and its key."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "3", "-subj", f"/CN={name}")
    address = ("-addext", "subjectAltName=IP:127.0.0.1")
    openssl(folder, "req", "-x509", *curve, *address, "-keyout", f"{name}.key", "-out", f"{name}.crt", *more)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    certified(folder, "own", "-nodes")
    certified(folder, "other", "-nodes")
    certified(folder, "locked", "-passout", "pass:hush-hush")
    openssl(folder, "x509", "-in", "own.crt", "-outform", "der", "-out", "own.der")
    (folder / "broken.key").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (folder / "link.crt").symlink_to("own.crt")
    return folder


def test_real_clients_speak_https(out, files):
    openai = pytest.importorskip("openai")
    context = ssl.create_default_context(cafile=files / "own.crt")
    options = ("--tls-cert", files / "link.crt", "--tls-key", files / "own.key", "--threads", "1")
    with serving(out / "embedder" / "fp32", *options) as server:
        assert any(f"ready at https://127.0.0.1:{server.port};" in line for line in server.log)
        place = f"https://127.0.0.1:{server.port}"
        with httpx.Client(trust_env=False, verify=context) as plain:
            assert plain.get(f"{place}/readyz").json() == {"status": "ready"}
            client = openai.OpenAI(base_url=f"{place}/v1", api_key="none", http_client=plain, max_retries=0)
            made = client.embeddings.create(model="embedder", input=["A ship.", "A hill by the sea."])
        assert [len(one.embedding) for one in made.data] == [32, 32]
        with (
            httpx.Client(trust_env=False) as distrustful,
            pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            distrustful.get(f"{place}/healthz")
        with httpx.Client(trust_env=False) as plain, pytest.raises(httpx.TransportError):
            plain.get(f"http://127.0.0.1:{server.port}/healthz")
        assert server.end() == 0


def test_a_renewed_certificate_counts_for_new_connections(files, tmp_path, caplog):
    """One whose key does not belong to it does not: the server would be left without a certificate."""
    pair = Tls(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))

    def install(certificate, key):
        shutil.copy(files / certificate, tmp_path / "new.crt")
        shutil.copy(files / key, pair.key)
        os.replace(tmp_path / "new.crt", pair.certificate)

    async def until(condition):
        for _ in range(3000):
            if condition():
                return
            await asyncio.sleep(0.01)
        pytest.fail(caplog.text)

    async def seen():
        install("own.crt", "own.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        served = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        watch = asyncio.create_task(watch_certificate(context, pair, 0.01))
        await asyncio.sleep(0)
        port = served.sockets[0].getsockname()[1]
        found = [await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))]
        for key, says in (("own.key", "stays as it was"), ("other.key", "was renewed")):
            install("other.crt", key)
            await until(lambda says=says: says in caplog.text)
            found.append(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)))
        watch.cancel()
        served.close()
        return found

    with caplog.at_level("INFO", "onnxbuild.serve"):
        found = asyncio.run(seen())
    own, other = ((files / name).read_text() for name in ("own.crt", "other.crt"))
    assert found == [own, own, other]


@pytest.mark.parametrize(("certificate", "key", "says"), [
    ("own.crt", None, "`--tls-cert` needs `--tls-key`"),
    (None, "own.key", "`--tls-key` needs `--tls-cert`"),
    ("none.crt", "own.key", "the certificate in `{0}` cannot be read: No such file or directory"),
    ("own.crt", "none.key", "the private key in `{1}` cannot be read: No such file or directory"),
    ("own.crt", ".", "the private key in `{1}` cannot be read: "),
    ("own.der", "own.key", "`{0}` has no certificate in the format PEM"),
    ("own.key", "own.key", "`{0}` has no certificate in the format PEM"),
    ("own.crt", "own.crt", "`{1}` has no private key in the format PEM"),
    ("own.crt", "other.key", "the private key in `{1}` does not belong to `{0}`"),
    ("own.crt", "locked.key", "the private key in `{1}` has a password"),
    ("own.crt", "broken.key", "OpenSSL cannot use `{0}` with `{1}`"),
])  # fmt: skip
def test_a_pair_that_cannot_be_used_is_refused_before_a_model_is_opened(out, files, capsys, certificate, key, says):
    names = {"--tls-cert": certificate, "--tls-key": key}
    given = [part for option, name in names.items() if name for part in (option, os.path.join(files, name))]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("onnxbuild.serve.server_process.run_server", lambda *_: pytest.fail("it was started"))
        assert run_command(["serve", str(out / "ranker" / "fp32"), *given]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"OB739 {says.format(*(os.path.join(files, name or '') for name in (certificate, key)))}")
    assert "hush-hush" not in said
