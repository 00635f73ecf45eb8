"""Documents from nginx over TLS, with an authority and a password of our own."""

import pathlib
from collections.abc import Iterator

import anyio
import pytest
import trustme

from tests.support import nginx_server
from worker.core.model.errors import SourceError
from worker.service import source_factory
from worker.settings import loader
from worker.sources import document_source

CSV = "driver,fleet\n" + "".join(f"driver-{number}@example.com,Paris\n" for number in range(2000))
TLS = " ssl; ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem"
SERVER = """
    types {{ text/csv csv; text/html html; }}
    gzip on; gzip_types text/csv; gzip_min_length 1;
    location / {{ auth_basic "HR"; auth_basic_user_file {folder}/users; }}
    location /login/ {{ try_files /login.html =404; }}
    location /moved/ {{ return 302 https://localhost:$server_port/people.csv; }}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, pathlib.Path]]:
    """Serve a folder on a free port of loopback; yield the address and the folder of the settings."""
    nginx_server.require()
    folder = tmp_path_factory.mktemp("nginx")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(folder / "chain.pem", append=True)
    (folder / "users").write_text("hr:{PLAIN}s3cr3t\n")
    (folder / "password").write_text("s3cr3t\n")
    (folder / "wrong").write_text("guess\n")
    (folder / "www").mkdir()
    (folder / "www" / "people.csv").write_text(CSV)
    (folder / "www" / "login.html").write_text("<!doctype html><title>Sign in</title>")
    tls, server = TLS.format(folder=folder), SERVER.format(folder=folder)
    with nginx_server.running(folder, server=server, tls=tls) as port:
        yield f"https://127.0.0.1:{port}", folder


def source(nginx: tuple[str, pathlib.Path], path: str = "/people.csv", **given: str) -> document_source.DocumentSource:
    url, folder = nginx
    keys = {"username": "hr", "password_file": "password", "ca_file": "ca.pem"} | given
    lines = [f'{key} = "{text}"\n' for key, text in keys.items() if text]
    text = f'[[sources]]\nkind = "http"\nurl = "{url}{path}"\n{"".join(lines)}'
    (folder / "fleet-sync.toml").write_text(text)
    (made,) = source_factory.create(loader.load(folder / "fleet-sync.toml", {}))
    return made


def code_of(reading: document_source.DocumentSource) -> str:
    with pytest.raises(SourceError) as caught:
        anyio.run(reading.read)
    return caught.value.code


def test_a_document_is_read_over_tls_and_compressed(nginx: tuple[str, pathlib.Path]) -> None:
    async def read() -> None:
        reading = source(nginx)
        first, revision = await reading.read(), await reading.peek()
        assert len(first.rows) == 2000
        assert await reading.read() == first
        assert await reading.peek() == revision is not None
        path = nginx[1] / "www" / "people.csv"
        path.write_text(f"{CSV}x@y,Paris\n")
        try:
            assert await reading.peek() != revision
            assert len((await reading.read()).rows) == 2001
        finally:
            path.write_text(CSV)

    anyio.run(read)


@pytest.mark.parametrize(
    ("path", "given", "code"),
    [
        ("/people.csv", {"ca_file": ""}, "source_unreachable"),
        ("/people.csv", {"password_file": "wrong"}, "source_unauthorized"),
        ("/people.csv", {"username": "", "password_file": ""}, "source_unauthorized"),
        ("/none.csv", {}, "source_unreachable"),
        ("/login/people.csv", {}, "source_unauthorized"),
        ("/moved/people.csv", {}, "source_unreachable"),
    ],
)
def test_what_is_not_the_document_is_an_error(
    path: str, given: dict[str, str], code: str, nginx: tuple[str, pathlib.Path]
) -> None:
    assert code_of(source(nginx, path, **given)) == code
