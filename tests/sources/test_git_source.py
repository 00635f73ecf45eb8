"""Documents of a commit: all of one, checked by git, and never of a rewritten history unnoticed."""

import dataclasses
import os
import pathlib
import shutil
import stat
from typing import Any

import anyio
import pytest

from tests.sources import git_repositories
from worker.core.model.errors import SourceError
from worker.sources import document_source, git_source

CSV = "driver,fleet\na@b,Paris\n"
SECRET = "s3cr3t-of-the-source"


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> git_repositories.Repository:
    found = git_repositories.Repository(tmp_path / "hr")
    found.commit(
        {
            "people.csv": CSV,
            "teams/a.csv": CSV,
            "teams/b.yaml": "fleets: {Lyon: [c@d]}",
            "teams/.keep": "",
            "teams/~$a.xlsx": "",
        }
    )
    return found


def source(
    repository: git_repositories.Repository, path: str = "people.csv", **given: Any
) -> document_source.DocumentSource:
    what = git_source.Repository(repository.url, "HEAD", path, cache=repository.folder.parent / "cache")
    return document_source.DocumentSource("git", "hr", git_source.GitFetcher(dataclasses.replace(what, **given), "hr"))


def failure(reading: document_source.DocumentSource, code: str) -> str:
    with pytest.raises(SourceError) as caught:
        anyio.run(reading.read)
    assert caught.value.code == code
    assert SECRET not in f"{caught.value!r} {caught.value.__context__!r} {reading!r}"
    return caught.value.message


def test_a_document_is_read_with_its_commit_and_line(repository: git_repositories.Repository) -> None:
    reading = anyio.run(source(repository).read)
    commit = repository.git("rev-parse", "--short=12", "HEAD")
    assert [str(row.origin) for row in reading.rows] == [f"people.csv@{commit}:2:1"]
    assert reading.source.proof == "commit"
    assert reading.source.revision == f"git:{repository.git('rev-parse', 'HEAD:people.csv')}"


def test_a_folder_contains_all_its_documents(repository: git_repositories.Repository) -> None:
    for path in ("/teams/", "./teams", "teams/.", "./teams//"):
        reading = anyio.run(source(repository, path).read)
        assert [str(row.driver) for row in reading.rows] == ["a@b", "c@d"]


@pytest.mark.parametrize("path", ["/", ".", "./"])
def test_the_root_is_a_folder_too(repository: git_repositories.Repository, path: str) -> None:
    repository.commit({"a.csv": CSV})
    assert len(anyio.run(source(repository, path).read).rows) == 1


def test_branches_and_tags_are_read_by_name(repository: git_repositories.Repository) -> None:
    repository.git("tag", "-a", "v1", "-m", "first")
    repository.git("branch", "next/main")
    repository.commit({"people.csv": CSV + "c@d,Paris\n"})
    rows = {ref: len(anyio.run(source(repository, ref=ref).read).rows) for ref in ("main", "v1", "next/main", "HEAD")}
    assert rows == {"main": 2, "v1": 1, "next/main": 1, "HEAD": 2}


class TestNames:
    """The right to push tags, or references that are neither branch nor tag, is not the right to push to a branch."""

    @pytest.fixture
    def forged(self, repository: git_repositories.Repository) -> str:
        """Return a commit that is in no branch."""
        repository.git("switch", "--quiet", "--detach")
        commit = repository.commit({"people.csv": "driver,fleet\nforged@b,Paris\n"})
        repository.git("switch", "--quiet", "main")
        return commit

    def drivers(self, repository: git_repositories.Repository, ref: str) -> list[str]:
        return [str(row.driver) for row in anyio.run(source(repository, ref=ref).read).rows]

    def test_a_name_of_both_a_branch_and_a_tag_is_an_error(
        self, repository: git_repositories.Repository, forged: str
    ) -> None:
        repository.git("tag", "main", forged)
        reading = source(repository, ref="main")
        assert 'write ref = "refs/heads/main" or ref = "refs/tags/main"' in failure(reading, "source_invalid")
        with pytest.raises(SourceError, match="refs/heads/main"):
            anyio.run(reading.peek)

    def test_a_full_name_means_exactly_that(self, repository: git_repositories.Repository, forged: str) -> None:
        full = ("refs/heads/main", "refs/tags/main")
        branch = source(repository, ref=full[0])
        before = anyio.run(branch.peek)
        repository.git("tag", "main", forged)
        assert [self.drivers(repository, ref) for ref in full] == [["a@b"], ["forged@b"]]
        assert before == anyio.run(branch.peek) != anyio.run(source(repository, ref=full[1]).peek)

    def test_a_name_means_a_branch_or_a_tag_and_nothing_else(
        self, repository: git_repositories.Repository, forged: str
    ) -> None:
        repository.git("branch", "next/main")
        before = anyio.run(source(repository, ref="next/main").peek)
        repository.git("update-ref", "refs/next/main", forged)
        assert self.drivers(repository, "next/main") == ["a@b"]
        assert anyio.run(source(repository, ref="next/main").peek) == before

    @pytest.mark.parametrize("ref", ["refs/heads/gone", "HEAD"])
    def test_no_tag_takes_the_place_of_what_is_gone(
        self, ref: str, repository: git_repositories.Repository, forged: str
    ) -> None:
        repository.git("update-ref", f"refs/tags/{ref}", forged)
        repository.git("symbolic-ref", "HEAD", "refs/heads/gone")
        reading = source(repository, ref=ref)
        assert f"the repository has no {ref}" in failure(reading, "source_unreachable")
        with pytest.raises(SourceError):
            anyio.run(reading.peek)


class TestPeek:
    def test_it_changes_with_every_commit_and_only_then(self, repository: git_repositories.Repository) -> None:
        reading = source(repository)
        before = anyio.run(reading.peek)
        anyio.run(reading.read)
        assert anyio.run(reading.peek) == before
        repository.commit({"people.csv": CSV + "c@d,Paris\n"})
        assert anyio.run(reading.peek) != before

    def test_a_branch_that_does_not_exist_is_an_error(self, repository: git_repositories.Repository) -> None:
        with pytest.raises(SourceError):
            anyio.run(source(repository, ref="gone").peek)


class TestTheHistory:
    def version(self, repository: git_repositories.Repository) -> str:
        return anyio.run(source(repository).read).source.version

    def descends(self, repository: git_repositories.Repository, version: str, before: str) -> bool:
        async def ask() -> bool:
            return await source(repository).descends(version, before=before)

        return anyio.run(ask)

    def test_a_commit_on_top_descends(self, repository: git_repositories.Repository) -> None:
        before = self.version(repository)
        assert before == repository.git("rev-parse", "HEAD")
        repository.commit({"people.csv": CSV})
        repository.commit({"people.csv": CSV})
        version = self.version(repository)
        assert self.descends(repository, version, before)
        assert not self.descends(repository, before, version)

    @pytest.mark.parametrize("has_cache", [True, False])
    def test_a_commit_in_the_place_of_another_does_not(
        self, has_cache: bool, repository: git_repositories.Repository
    ) -> None:
        """Also not on a machine that never had the other one."""
        before = self.version(repository)
        repository.commit({"people.csv": "driver,fleet\nx@y,Paris\n"}, amend=True)
        if not has_cache:
            shutil.rmtree(repository.folder.parent / "cache")
        assert not self.descends(repository, self.version(repository), before)

    def test_it_can_be_left_out_of_account(self, repository: git_repositories.Repository) -> None:
        assert anyio.run(source(repository, require_descendant=False).read).source.version == ""


class TestTheCopy:
    """The bare copy of the repository that is beside the settings; other processes may use it at the same time."""

    @pytest.fixture
    def copy(self, repository: git_repositories.Repository) -> pathlib.Path:
        anyio.run(source(repository).read)
        (found,) = (repository.folder.parent / "cache").iterdir()
        return found

    def test_several_may_make_it_at_once(self, repository: git_repositories.Repository) -> None:
        async def read_together() -> None:
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(source(repository).read)

        anyio.run(read_together)
        assert len(list((repository.folder.parent / "cache").iterdir())) == 1

    def test_its_settings_are_not_written_again(
        self, copy: pathlib.Path, repository: git_repositories.Repository
    ) -> None:
        """Git would lock them, and end where another process has locked them."""
        (copy / "config.lock").touch()
        assert len(anyio.run(source(repository).read).rows) == 1

    def test_where_a_killed_process_left_a_lock_the_error_says_what_to_do(
        self, copy: pathlib.Path, repository: git_repositories.Repository
    ) -> None:
        (copy / "packed-refs.lock").touch()
        assert f"delete {copy}, which is only a copy" in failure(source(repository), "source_unreachable")

    def test_where_it_is_damaged_no_repository_around_it_is_used(
        self, copy: pathlib.Path, repository: git_repositories.Repository
    ) -> None:
        """Settings are often in a repository themselves."""
        repository.git("init", "--quiet", str(copy.parent))
        (copy / "HEAD").write_text("")
        assert f"delete {copy}, which is only a copy" in failure(source(repository), "source_unreachable")
        assert not list(copy.parent.glob(".git/objects/??"))


class TestWhatIsNotWhole:
    @pytest.mark.parametrize(
        ("given", "code"),
        [
            ({"path": "gone.csv"}, "source_unreachable"),
            ({"ref": "gone"}, "source_unreachable"),
            ({"url": "file:///nowhere/at/all"}, "source_unreachable"),
            ({"url": "https://127.0.0.1:1/x.git"}, "source_unreachable"),
            ({"url": "ext::sh -c true"}, "source_unreachable"),
        ],
    )
    def test_what_cannot_be_fetched_is_an_error(
        self, given: dict[str, Any], code: str, repository: git_repositories.Repository
    ) -> None:
        failure(source(repository, **given), code)

    def test_a_damaged_repository_is_an_error(self, repository: git_repositories.Repository) -> None:
        """Wherever an object is cut short."""
        blob = repository.git("rev-parse", "HEAD:people.csv")
        path = repository.folder / ".git" / "objects" / blob[:2] / blob[2:]
        whole = path.read_bytes()
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        for cut in range(len(whole)):
            path.write_bytes(whole[:cut])
            with pytest.raises(SourceError):
                anyio.run(source(repository).read)

    def test_an_empty_document_is_an_error(self, repository: git_repositories.Repository) -> None:
        repository.commit({"people.csv": ""})
        failure(source(repository), "source_empty")

    def test_a_folder_without_documents_is_an_error(self, repository: git_repositories.Repository) -> None:
        repository.commit({"teams/.keep": ""})
        failure(source(repository, "teams"), "source_empty")

    @pytest.mark.parametrize("name", ["teams/readme.txt", "teams/more/a.csv"])
    def test_anything_in_a_folder_that_is_no_document_is_an_error(
        self, name: str, repository: git_repositories.Repository
    ) -> None:
        repository.commit({"teams/a.csv": CSV, name: CSV})
        failure(source(repository, "teams"), "source_invalid")

    def test_a_link_is_an_error(self, repository: git_repositories.Repository) -> None:
        (repository.folder / "teams" / "link.csv").symlink_to("/etc/passwd")
        repository.git("add", "--all")
        repository.git("commit", "--quiet", "--message=Link")
        assert "is not a file" in failure(source(repository, "teams"), "source_invalid")

    @pytest.mark.parametrize("path", ["gone.csv", "teams/gone.csv", "gone/a.csv", "people.csv/a.csv", "x/../teams"])
    def test_a_path_that_does_not_exist_is_named_with_the_commit(
        self, path: str, repository: git_repositories.Repository
    ) -> None:
        commit = repository.git("rev-parse", "--short=12", "HEAD")
        message = failure(source(repository, path), "source_unreachable")
        assert message == f"hr: {path} does not exist in the commit {commit}: correct path, or ref"

    def test_a_path_that_is_a_link_is_an_error_that_says_so(self, repository: git_repositories.Repository) -> None:
        (repository.folder / "teams" / "link.csv").symlink_to("../people.csv")
        repository.git("add", "--all")
        repository.git("commit", "--quiet", "--message=Link")
        message = failure(source(repository, "teams/link.csv"), "source_invalid")
        assert message == "hr: teams/link.csv is a symbolic link: set path to the document itself"

    def test_a_path_that_is_another_repository_is_an_error(self, repository: git_repositories.Repository) -> None:
        commit = repository.git("rev-parse", "HEAD")
        repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},other")
        repository.git("commit", "--quiet", "--message=Submodule")
        assert "other is a submodule: make a source of its repository" in failure(
            source(repository, "other"), "source_invalid"
        )

    @pytest.mark.parametrize("path", ["teams/a.csv", "teams"])
    def test_a_document_in_git_lfs_is_an_error_that_says_so(
        self, path: str, repository: git_repositories.Repository
    ) -> None:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
        repository.commit({"teams/a.csv": pointer})
        message = failure(source(repository, path), "source_invalid")
        assert message.startswith("teams/a.csv@") and "1:1: a Git LFS pointer, not the document" in message

    def test_a_path_is_no_pattern(self, repository: git_repositories.Repository) -> None:
        repository.commit({":(top)[a]*.csv": CSV, "a.csv": CSV + CSV})
        assert len(anyio.run(source(repository, ":(top)[a]*.csv").read).rows) == 1

    def test_a_machine_without_git_is_an_error_that_says_so(self, repository: git_repositories.Repository) -> None:
        reading = source(repository, environ={"PATH": "/nowhere"})
        assert "the program git cannot be run" in failure(reading, "source_unreachable")


class TestSecrets:
    def test_the_token_is_sent_to_the_address_only_and_is_in_no_argument(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "token").write_text(SECRET)
        environ = {"PATH": os.environ["PATH"], "GIT_DIR": "/x", "CHARGE_API_KEY": "x", "FLEET_SYNC_PLAN_KEY": "y"}
        repository = git_source.Repository(
            "https://git.example.com/hr.git",
            "main",
            "a.csv",
            cache=tmp_path,
            token_file=tmp_path / "token",
            environ=environ,
        )
        made = git_source.GitFetcher(repository, "hr")._environ()
        assert not {"GIT_DIR", "CHARGE_API_KEY", "FLEET_SYNC_PLAN_KEY"} & made.keys()
        keys = {text: made[name.replace("KEY", "VALUE")] for name, text in made.items() if "CONFIG_KEY" in name}
        assert keys["http.https://git.example.com/hr.git.extraHeader"].startswith("Authorization: Basic ")
        assert keys["http.followRedirects"] == "false"

    def test_a_token_that_is_missing_is_an_error(self, repository: git_repositories.Repository) -> None:
        failure(source(repository, token_file=repository.folder / "none"), "source_unauthorized")

    def test_a_key_is_used_alone_and_hosts_must_be_known(self, tmp_path: pathlib.Path) -> None:
        repository = git_source.Repository(
            "git@git.example.com:hr.git", "main", "a.csv", cache=tmp_path, key_file=tmp_path / "a key"
        )
        made = git_source.GitFetcher(repository, "hr")._environ()["GIT_SSH_COMMAND"]
        assert f"-o IdentitiesOnly=yes -i '{tmp_path}/a key'" in made
        assert "StrictHostKeyChecking=yes" in made and "BatchMode=yes" in made
