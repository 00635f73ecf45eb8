"""Which addresses are accepted, and that none is ever repeated."""

import pytest

from worker.settings import urls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://api.chargeapi.co/v1", "https://api.chargeapi.co/v1"),
        ("https://api.chargeapi.co/v1/", "https://api.chargeapi.co/v1"),
        ("HTTPS://API.ChargeAPI.co/V1//", "https://api.chargeapi.co/V1"),
        ("https://10.0.0.1:8443", "https://10.0.0.1:8443"),
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://127.255.0.9:80/", "http://127.255.0.9:80"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://[2001:db8::1]/v1", "https://[2001:db8::1]/v1"),
    ],
)
def test_an_address_of_the_api_is_kept_without_its_last_slash(text: str, expected: str) -> None:
    assert urls.base_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://api.chargeapi.co/v1",
        "http://10.0.0.1",
        "http://128.0.0.1",
        "http://127.1",
        "http://0.0.0.0",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://[::2]",
        "https://user:sesame@api.chargeapi.co/v1",
        "http://127.0.0.1@evil.example",
        "https://sesame@h",
        "https://@h",
        "https://h/v1?key=sesame",
        "https://h/v1?",
        "https://h/v1#sesame",
        "https://h/v1#",
        "https://h:port/v1",
        "https://h:99999/v1",
        "https://[::1/v1",
        "https://",
        "https:///v1",
        "ftp://h/v1",
        "file:///sesame",
        "api.chargeapi.co/v1",
        "",
        "https://h/sesame v1",
        " https://h",
        "https://h\n",
        "https://h\t/v1",
        "https://hé/v1",
        "https:\\\\h\\v1",
        "https://h\\@evil.example/v1",
    ],
)
def test_an_address_that_could_expose_the_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="write ") as caught:
        urls.base_url(text)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("text", ["sqlite:///fleet-sync.db", "sqlite:////var/lib/j.db", "sqlite:///a b.db"])
def test_a_journal_is_a_file(text: str) -> None:
    assert urls.journal(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fleet-sync.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite+pysqlite:///a.db",
        "mysql://sesame@h/d",
        "postgresql+psycopg://u:sesame@h/d",
        "postgresql://u:ses ame@h/d",
        "postgres://u:sesame@h/d",
    ],
)
def test_an_invalid_journal_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="write sqlite:///") as caught:
        urls.journal(text)
    assert "sesame" not in str(caught.value)


def test_a_journal_may_be_in_postgresql() -> None:
    assert urls.journal("postgresql://u:secret@h/d") == "postgresql://u:secret@h/d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("https://hooks.slack.com/services/T0/B0/Abc", "https://hooks.slack.com/services/T0/B0/Abc"),
        ("HTTPS://Hooks.Example:8443/A/", "https://hooks.example:8443/A/"),
        ("https://chat.example/v1/spaces/a?key=B&token=C%3D", "https://chat.example/v1/spaces/a?key=B&token=C%3D"),
        ("http://127.0.0.1:9000/hook", "http://127.0.0.1:9000/hook"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_a_webhook_keeps_its_path_and_query(text: str, expected: str) -> None:
    assert urls.webhook(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://hooks.example/sesame",
        "http://127.0.0.1.evil.example/sesame",
        "https://user:sesame@hooks.example/",
        "https://hooks.example/#sesame",
        "https://hooks.example/ch_sk_live_sesame",
        "https://hooks.example/sesame sesame",
        "https://hooks.example/s\u00e9same",
        "https://:443/sesame",
        "https://h:99999/sesame",
        "hooks.example/sesame",
        "ftp://hooks.example/sesame",
        "https://h\\@evil.example/sesame",
    ],
)
def test_an_invalid_webhook_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="write ") as caught:
        urls.webhook(text)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8080", ("::1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),  # noqa: S104 - parsed, not bound
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_the_status_is_served_at_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert urls.listen(text) == text
    assert urls.endpoint(text) == expected


def test_without_an_address_no_status_is_served() -> None:
    assert urls.listen("") == ""


@pytest.mark.parametrize(
    "text",
    [
        ":8080",
        "8080",
        "*:8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:\u0661",
        "127.0.0.1:80\n",
        "::1:8080",
        "[::1]",
        "[:::1]:80",
        "[127.0.0.1]:80",
        "http://127.0.0.1:80",
        "127.0.0.1:80/",
        " 127.0.0.1:80",
    ],
)
def test_an_invalid_host_and_port_is_refused(text: str) -> None:
    """Not even every network by leaving the host out: what more than this machine can read is said in full."""
    with pytest.raises(ValueError, match="write it like"):
        urls.listen(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("::1:8080", 'write it like "[::1]:8080"'),
        (":::8080", 'write it like "[::]:8080"'),
        ("2001:db8::1:80", 'write it like "[2001:db8::1]:80"'),
        (":8080", 'write it like "127.0.0.1:8080" or "[::1]:8080", or "0.0.0.0:8080" to serve every network'),
    ],
)
def test_the_advice_for_an_address_can_be_followed(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match="write it like") as caught:
        urls.listen(text)
    assert advice in str(caught.value)


@pytest.mark.parametrize("text", [":sesame", ":sesame:80", "::sesame:80", "sesame", "::1%sesame:80"])
def test_an_invalid_address_to_listen_on_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="write it like") as caught:
        urls.listen(text)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTPS://HR.example.com", "https://hr.example.com/"),
        ("https://hr.example.com:8443/People.csv?Key=x", "https://hr.example.com:8443/People.csv?Key=x"),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"),
        ("http://[::1]/a?", "http://[::1]/a"),
    ],
)
def test_the_address_of_a_document_keeps_its_path_and_query(text: str, expected: str) -> None:
    assert urls.document(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ""), ("https://Minio.example.com/", "https://minio.example.com"), ("https://m/a/?b", "https://m/a")],
)
def test_the_address_of_a_store_has_neither_query_nor_last_slash(text: str, expected: str) -> None:
    assert urls.store(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://git.example.com/hr.git",
        "http://localhost/hr.git",
        "ssh://git@git.example.com:2222/hr.git",
        "git@git.example.com:hr/fleets.git",
        "file:///srv/hr.git",
    ],
)
def test_a_repository_is_at_an_address_that_git_knows(text: str) -> None:
    assert urls.repository(text) == text


@pytest.mark.parametrize(
    "text", ["", "hr.git", "-u@h:hr.git", "git@h:hr.git\n", "http://git.example.com/hr.git", "ext::x"]
)
def test_another_repository_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write "):
        urls.repository(text)


@pytest.mark.parametrize(
    "text", ["s3://people/hr/out.csv", "gs://people/out", "az://people/a b.csv", "s3://people/.hr/..a"]
)
def test_an_object_is_in_a_bucket(text: str) -> None:
    assert urls.bucket(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://people/a",
        "s3:///a",
        "s3://people",
        "s3://people/",
        "s3://people/a/",
        "s3://u@people/a",
        "s3://people:1/a",
        "s3://people/a?b",
        "s3://people/a#b",
        "s3://people/a\x00",
        "s3://people//a",
        "s3://people/./a",
        "s3://people/a/../b",
    ],
)
def test_what_is_no_object_in_a_bucket_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it like s3:|cannot be read"):
        urls.bucket(text)


@pytest.mark.parametrize(
    ("text", "login", "expected"),
    [
        ("", False, ""),
        ("http://Proxy.example:3128/", False, "http://proxy.example:3128"),
        ("http://Proxy.example", True, "http://proxy.example"),
        ("http://User:Sesame@Proxy.example:3128", True, "http://User:Sesame@proxy.example:3128"),
    ],
)
def test_a_proxy_is_a_host_and_a_port_and_perhaps_a_login(text: str, login: bool, expected: str) -> None:
    assert urls.proxy(text, login=login) == expected


@pytest.mark.parametrize(
    "text", ["https://p", "http://p/a", "http://p?a", "http://p#a", "http://ch_sk_x@p", "http://u@p", "socks5://p"]
)
def test_another_proxy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"proxy|service"):
        urls.proxy(text)


@pytest.mark.parametrize("text", ["", "postgresql://", "postgresql://u:p@db.example.com/fleets"])
def test_a_database_is_one_of_postgresql(text: str) -> None:
    assert urls.database(text) == text


@pytest.mark.parametrize("text", ["mysql://h/d", "h/d", "postgresql://h/a b", "postgresql://h/a\n"])
def test_another_database_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a database of PostgreSQL"):
        urls.database(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("example.com", False),
        ("", False),
        ("::", False),
    ],
)
def test_a_loopback_host_is_this_machine_alone(host: str, expected: bool) -> None:
    assert urls.is_loopback(host) is expected
