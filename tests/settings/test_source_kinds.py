"""The keys of each kind of source: what is read, what is refused, and how the refusal is worded.

Neighbours: test_source_sections.py has the sections that all kinds have.
"""

import pathlib
import tomllib

import pytest

from tests.settings import conftest, test_schema
from worker.core.model.errors import SettingsError
from worker.service import source_factory
from worker.sources import command_source, git_source, http_login, http_source, object_source, sftp_source, sql_source

HTTP = '[[sources]]\nkind = "http"\nurl = "https://hr.example.com/people.csv?key=x"\n'


def test_every_key_of_an_http_source_is_read(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    text = f"""{HTTP}username = "hr"
password_file = "password"
headers_file = "headers"
proxy_url = "http://proxy.example.com:3128"
timeout_seconds = 5
"""
    (source,) = source_factory.create(load(text, sources=""))
    assert (source.kind, source.name) == ("http", "https://hr.example.com/people.csv")
    assert isinstance(source.fetcher, http_source.HttpFetcher)
    endpoint = source.fetcher.endpoint
    assert (endpoint.url, endpoint.timeout) == ("https://hr.example.com/people.csv?key=x", 5)
    assert endpoint.login == http_login.Login("hr", tmp_path / "password", None, tmp_path / "headers")
    test_schema.validator("settings").validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[sources]]\nkind = "http"\n', 'sources.url is missing: write url = "https://hr.example.com/people.csv"'),
        (HTTP.replace("https:", "http:"), "plain http can be read and changed on its way"),
        (HTTP.replace("hr.example", "a:b@hr.example"), "write the user in username, the password in a file"),
        (HTTP.replace("?key=x", "#x"), "the address contains a fragment"),
        (HTTP.replace("https://", "sftp://"), "not an http or https address"),
        (f'{HTTP}username = "a"\n', "username and password_file belong together"),
        (f'{HTTP}password_file = "a"\n', "username and password_file belong together"),
        (f'{HTTP}[sources.completeness]\nmanifest = "https://cdn.example.com/m.json"\n', "the manifest must be on"),
        (
            f'{HTTP}[sources.completeness]\nmanifest = "//cdn.example.com{{path}}"\n',
            "the manifest must be on the document",
        ),
        (
            f'{HTTP}[sources.completeness]\nmanifest = "http://hr.example.com/m.json"\n',
            "the manifest must be on the doc",
        ),
        (f'{HTTP}username = "a"\npassword_file = "a"\ntoken_file = "b"\n', "are both sent as Authorization"),
        (f'{HTTP}username = "a:b"\npassword_file = "a"\n', "sources.username: write a user without a colon"),
        (f'{HTTP}path = "a"\n', 'unknown key "path" in sources: its keys are kind, name, poll_seconds'),
        (f"{HTTP}timeout_seconds = 0\n", "write a number greater than 0"),
        (
            '[[sources]]\nkind = "http"\nurl = "http://127.0.0.1/a.csv"\nproxy_url = "http://proxy:1"\n',
            "a proxy would see and could change plain http",
        ),
    ],
)
def test_mistakes_of_an_http_source_are_refused(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert problem in found


def test_an_authority_that_cannot_be_read_is_an_error_of_the_settings(load: conftest.Load) -> None:
    with pytest.raises(SettingsError, match=r"sources\.ca_file: cannot read the file"):
        source_factory.create(load(f'{HTTP}ca_file = "ca.pem"\n', sources=""))


COMMAND = '[[sources]]\nkind = "command"\nrun = ["./export", "--token", "x"]\n'


def test_every_key_of_a_command_source_is_read(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    text = f"""{COMMAND}peek = ["./revision"]
timeout_seconds = 5
env = {{LANG = "C.UTF-8"}}
"""
    (source,) = source_factory.create(load(text, sources=""))
    assert (source.kind, source.name) == ("command", "export")
    assert isinstance(source.fetcher, command_source.CommandFetcher)
    command = source.fetcher.command
    assert (command.run, command.peek) == (("./export", "--token", "x"), ("./revision",))
    assert (command.folder, command.timeout, command.env) == (tmp_path, 5, {"LANG": "C.UTF-8"})
    test_schema.validator("settings").validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[sources]]\nkind = "command"\n', 'sources.run is missing: write run = ["./export-drivers"'),
        ('[[sources]]\nkind = "command"\nrun = []\n', "3:7: sources.run: write at least one"),
        ('[[sources]]\nkind = "command"\nrun = "a"\n', '3:7: sources.run: write a list, like ["…", "…"]'),
        (f"{COMMAND}timeout_seconds = 3601\n", "write a number of at most 3600"),
        (f'{COMMAND}env = {{"A=B" = "x"}}\n', "write the name of a variable without ="),
        (f'{COMMAND}env = {{"" = "x"}}\n', "write the name of a variable without ="),
        (f'{COMMAND}env = {{"A\\u0000" = "x"}}\n', "a NUL character: remove it"),
        (f'{COMMAND}env = {{A = "x\\u0000"}}\n', "a NUL character: remove it"),
        (f'{COMMAND}env = {{A = "ch_sk_test_x"}}\n', "a Charge key must never be given to another program"),
        (f'{COMMAND}[sources.completeness]\nmanifest = "x"\n', "has no file beside it and no age"),
        (f"{COMMAND}[sources.completeness]\nmax_age_hours = 1\n", "has no file beside it and no age"),
    ],
)
def test_mistakes_of_a_command_source_are_refused(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert problem in found


SFTP = """[[sources]]
kind = "sftp"
host = "sftp.example.com"
username = "fleet-sync"
path = "out/people_*.csv"
known_hosts_file = "known_hosts"
"""
WITH_KEY = f'{SFTP}key_file = "key"\n'


def test_every_key_of_an_sftp_source_is_read(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    text = f"""{SFTP}port = 2222
password_file = "password"
settle_seconds = 10
timeout_seconds = 5
[sources.completeness]
manifest = "{{path}}.json"
"""
    (source,) = source_factory.create(load(text, sources=""))
    assert (source.kind, source.name) == ("sftp", "sftp://sftp.example.com/out/people_*.csv")
    assert isinstance(source.fetcher, sftp_source.SftpFetcher)
    assert source.fetcher.server == sftp_source.Server(
        "sftp.example.com",
        2222,
        "fleet-sync",
        tmp_path / "known_hosts",
        tmp_path / "password",
        "password_file",
    )
    assert source.fetcher.upload == sftp_source.Upload("out/people_*.csv", "{path}.json", 10, 5)
    test_schema.validator("settings").validate(tomllib.loads(text))


def test_an_sftp_source_waits_for_uploads_by_default(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (source,) = source_factory.create(load(WITH_KEY, sources=""))
    assert isinstance(source.fetcher, sftp_source.SftpFetcher)
    assert source.fetcher.upload.settle_seconds == 60
    assert (source.fetcher.server.secret_file, source.fetcher.server.login) == (tmp_path / "key", "key_file")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SFTP, "set key_file or password_file, and not both"),
        (f'{WITH_KEY}password_file = "p"\n', "set key_file or password_file, and not both"),
        (WITH_KEY.replace('host = "sftp.example.com"\n', ""), 'sources.host is missing: write host = "sftp.example.'),
        (WITH_KEY.replace('username = "fleet-sync"\n', ""), 'sources.username is missing: write username = "fleet-'),
        (WITH_KEY.replace('known_hosts_file = "known_hosts"\n', ""), "sources.known_hosts_file is missing: write know"),
        (WITH_KEY.replace('"known_hosts"', '""'), "sources.known_hosts_file: write a path"),
        (WITH_KEY.replace("sftp.example", "-oProxyCommand=x"), "write the name of a host, or its address"),
        (WITH_KEY.replace('"fleet-sync"', '""'), "write a name of printable characters"),
        (WITH_KEY.replace("people_*.csv", ""), "write the path of a file, such as out/people.csv"),
        (WITH_KEY.replace("out/", "o*t/"), "write a pattern for the name only"),
        (f"{WITH_KEY}port = 70000\n", "sources.port: write a number of at most 65535"),
        (f"{WITH_KEY}settle_seconds = -1\n", "sources.settle_seconds: write a number of at least 0"),
    ],
)
def test_mistakes_of_an_sftp_source_are_refused(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert problem in found


OBJECT = '[[sources]]\nkind = "object"\nurl = "s3://people/hr/out.csv"\n'


def test_every_key_of_an_object_source_is_read(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    text = f"""{OBJECT}region = "eu-west-1"
endpoint = "https://minio.example.com/"
access_key_id = "id"
secret_file = "secret"
timeout_seconds = 5
[sources.completeness]
manifest = "{{path}}.json"
"""
    (source,) = source_factory.create(load(text, sources=""))
    assert (source.kind, source.name) == ("object", "s3://people/hr/out.csv")
    assert source.fetcher == object_source.ObjectFetcher(
        object_source.Bucket(
            "s3",
            "people",
            "hr/out.csv",
            region="eu-west-1",
            endpoint="https://minio.example.com",
            access_key_id="id",
            secret_file=tmp_path / "secret",
            timeout=5,
        ),
        "s3://people/hr/out.csv",
        "{path}.json",
    )
    test_schema.validator("settings").validate(tomllib.loads(text))


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_the_credentials_of_the_machine_are_enough(
    scheme: object_source.Scheme, load: conftest.Load, tmp_path: pathlib.Path
) -> None:
    (source,) = source_factory.create(load(OBJECT.replace("s3:", f"{scheme}:"), sources=""))
    assert isinstance(source.fetcher, object_source.ObjectFetcher)
    assert source.fetcher.bucket == object_source.Bucket(scheme, "people", "hr/out.csv")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (OBJECT.replace("s3:", "https:"), "write it like s3://bucket/hr/people.csv"),
        (OBJECT.replace("hr/out.csv", ""), "write it like s3://bucket/hr/people.csv"),
        (OBJECT.replace("out.csv", ""), "write it like s3://bucket/hr/people.csv"),
        (OBJECT.replace("people/", "key:secret@people/"), "write it like s3://bucket/hr/people.csv"),
        (OBJECT.replace("out.csv", "out.csv?versionId=1"), "write it like s3://bucket/hr/people.csv"),
        (OBJECT.replace("people/", "people//"), 'a key with an empty, "." or ".." segment cannot be read'),
        (OBJECT.replace("hr/", "hr/../"), 'a key with an empty, "." or ".." segment cannot be read'),
        (f'{OBJECT}endpoint = "http://minio.example.com"\n', "plain http can be read and changed on its way"),
        (f'{OBJECT}access_key_id = "id"\n', "access_key_id and secret_file belong together"),
        (f'{OBJECT}secret_file = "secret"\n', "access_key_id and secret_file belong together"),
        (f'{OBJECT.replace("s3:", "gs:")}access_key_id = "id"\n', "the file of a service account also names it"),
        (f'{OBJECT.replace("s3:", "az:")}secret_file = "s"\n', "set access_key_id to the name of the account"),
        (f'{OBJECT.replace("s3:", "gs:")}region = "eu"\n', "only buckets in S3 have a region"),
    ],
)
def test_mistakes_of_an_object_source_are_refused(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert problem in found


SQL = '[[sources]]\nkind = "sql"\nurl_file = "url"\nquery = "SELECT 1"\n'


def test_every_key_of_a_sql_source_is_read(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    text = f"""{SQL}revision_query = "SELECT 2"
statement_timeout_seconds = 5
"""
    (source,) = source_factory.create(load(text, sources=""))
    assert (source.kind, source.name, source.options.delimiter) == ("sql", "url", "comma")
    database = sql_source.Database(tmp_path / "url", tmp_path, 5)
    assert source.fetcher == sql_source.SqlFetcher(database, "SELECT 1", "SELECT 2", "url")
    test_schema.validator("settings").validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[sources]]\nkind = "sql"\nquery = "SELECT 1"\n', 'sources.url_file is missing: write url_file = "secrets/'),
        ('[[sources]]\nkind = "sql"\nurl_file = "u"\n', 'sources.query is missing: write query = "SELECT email AS'),
        (f'{SQL}format = "csv"\n', "have neither format, delimiter nor encoding"),
        (f'{SQL}delimiter = "tab"\n', "have neither format, delimiter nor encoding"),
        (f'{SQL}encoding = "utf-8"\n', "have neither format, delimiter nor encoding"),
        (f'{SQL}[sources.completeness]\ntrailer = "#END"\n', "a query has no manifest, trailer or age"),
        (f'{SQL}[sources.completeness]\nmanifest = "x"\n', "a query has no manifest, trailer or age"),
        (f"{SQL}[sources.completeness]\nmax_age_hours = 1\n", "a query has no manifest, trailer or age"),
    ],
)
def test_mistakes_of_a_sql_source_are_refused(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert problem in found


GIT = '[[sources]]\nkind = "git"\nurl = "https://git.example.com/hr.git"\npath = "teams"\n'


def test_every_key_of_a_git_source_is_read(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    text = f"""{GIT}ref = "main"
token_file = "token"
require_descendant = false
timeout_seconds = 5
"""
    (source,) = source_factory.create(load(text, sources=""))
    assert (source.kind, source.name) == ("git", "https://git.example.com/hr.git//teams")
    assert isinstance(source.fetcher, git_source.GitFetcher)
    assert source.fetcher.repository == git_source.Repository(
        "https://git.example.com/hr.git",
        "main",
        "teams",
        cache=tmp_path / "fleet-sync-git",
        token_file=tmp_path / "token",
        require_descendant=False,
        timeout=5,
    )
    test_schema.validator("settings").validate(tomllib.loads(text))


@pytest.mark.parametrize("url", ["git@git.example.com:hr.git", "ssh://git@[::1]:2222/hr.git", "file:///srv/hr.git"])
def test_every_form_of_a_repositorys_address_is_read(url: str, load: conftest.Load) -> None:
    (source,) = source_factory.create(load(GIT.replace("https://git.example.com/hr.git", url), sources=""))
    assert isinstance(source.fetcher, git_source.GitFetcher)
    assert source.fetcher.repository.url == url


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[sources]]\nkind = "git"\npath = "a"\n', 'sources.url is missing: write url = "https://'),
        (GIT.replace("https:", "http:"), "plain http can be read and changed on its way"),
        (GIT.replace("https://", "ext::sh -c "), "write it like https://git.example.com/hr/fleets.git or git@"),
        (GIT.replace("https://git", "--upload-pack=x git"), "write it like https://git.example.com"),
        (GIT.replace("https://", "https://user:password@"), "write the user in username, the password in a file"),
        (f'{GIT}ref = "--upload-pack=x"\n', "write the name of a branch or tag, such as main"),
        (f'{GIT}ref = "a:b"\n', "write the name of a branch or tag, such as main"),
        (f'{GIT}key_file = "k"\n', "keys and known hosts are for ssh"),
        (f'{GIT}known_hosts_file = "k"\n', "keys and known hosts are for ssh"),
        (f'{GIT.replace("https://", "ssh://")}token_file = "k"\n', "a token is for https"),
        (f'{GIT}[sources.completeness]\nmanifest = "x"\n', "a commit has neither manifest nor age"),
        (f"{GIT}[sources.completeness]\nmax_age_hours = 1\n", "a commit has neither manifest nor age"),
        (
            f'{GIT.replace("https://git.example.com", "file:///srv")}key_file = "k"\n',
            "keys and known hosts are for ssh",
        ),
    ],
)
def test_mistakes_of_a_git_source_are_refused(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert problem in found


@pytest.mark.parametrize(
    "text",
    [
        f'{HTTP}proxy_url = "http://proxy.example.com:3128"\n',
        f'{HTTP}token_file = "token"\n',
        f'{COMMAND}env = {{A = "a=b", B = ""}}\n[sources.completeness]\ntrailer = "#(?P<rows>[0-9]+)"\nmin_rows = 2\n',
        f'{OBJECT}access_key_id = "id"\nsecret_file = "secret"\nregion = "eu"\n',
        f'{OBJECT.replace("s3:", "gs:")}secret_file = "secret"\n',
        f'{OBJECT.replace("s3:", "az:")}access_key_id = "id"\nsecret_file = "secret"\n',
        f'{OBJECT.replace("s3:", "az:")}access_key_id = "id"\n',
        f"{SQL}[sources.completeness]\nmin_rows = 2\n",
        f'{GIT.replace("https://", "ssh://git@")}key_file = "k"\nknown_hosts_file = "h"\n',
        f'{GIT.replace("https://git.example.com/", "git@git.example.com:")}key_file = "k"\n',
        f'{GIT}[sources.completeness]\ntrailer = "#(?P<rows>[0-9]+)"\n',
    ],
)
def test_logins_and_checks_that_fit_the_kind_are_accepted(text: str, load: conftest.Load) -> None:
    (source,) = load(text, sources="").sources
    written = tomllib.loads(text)["sources"][0]
    shown = source.model_dump(exclude_unset=True)
    assert {key: shown[key] for key in written if key != "completeness"} == {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in written.items()
        if key != "completeness"
    }
