"""Reads documents from a commit of a Git repository, with the program git.

Invariants: all documents are of one commit, and git has checked its objects; that commit is the one that the branch or
tag in the settings names, and no reference that git would prefer; a commit that was read before, and from which this
one does not descend, is noticed unless the settings allow it. The token is in no argument, and is sent to no address
but that of the settings. Neighbours: `processes` runs git.
"""

import base64
import dataclasses
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import uuid
from collections.abc import Mapping, Sequence

from anyio import to_thread

from worker.core.model.errors import SourceError
from worker.sources import document_reader, fetching, positions, processes, secret_files

_MAX_LISTING_BYTES = 1024 * 1024

_REFUSED = re.compile(
    r"Authentication failed|Permission denied|could not read Username|Host key verification failed|"
    r"returned error: 40[13]|invalid credentials",
    re.IGNORECASE,
)
_OF_COPY = re.compile(r"\.lock'|not a git repository: '\.'|object file \./|loose object")
"""What git says of a repository in which it was killed, or whose files were lost with the machine's power."""
_PROTOCOLS = "file:http:https:ssh"


@dataclasses.dataclass(frozen=True, slots=True)
class Repository:
    """What is read: `path` is a document in the repository, or a folder of them. `timeout` is in seconds.

    `cache` is the folder for bare copies of repositories. `environ` is what fleet-sync was started with.
    """

    url: str
    ref: str
    path: str
    cache: pathlib.Path
    key_file: pathlib.Path | None = None
    known_hosts_file: pathlib.Path | None = None
    token_file: pathlib.Path | None = None
    require_descendant: bool = True
    any_suffix: bool = False
    timeout: float = 60.0
    environ: Mapping[str, str] = dataclasses.field(default_factory=lambda: os.environ, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class GitFetcher:
    """Implements fetching.Fetcher. Places begin with the document's path and its commit."""

    repository: Repository
    name: str

    async def fetch(self) -> fetching.Fetched:
        """Return the documents of the present commit. Raises errors.SourceError."""
        repository = self.repository
        git = await self._git()
        ref, _ = await self._resolved(git)
        # A name of its own: another process may fetch into the same cache.
        fetched = f"refs/fleet-sync/fetched-{uuid.uuid4().hex}"
        await git.run("fetch", "--quiet", "--no-tags", "--force", "--", repository.url, f"{ref}:{fetched}")
        try:
            commit = (await git.run("rev-parse", "--verify", f"{fetched}^{{commit}}")).decode().strip()
            documents, revision = await self._documents(git, commit)
        finally:
            await git.run("update-ref", "-d", fetched)
        version = commit if repository.require_descendant else ""
        return fetching.Fetched(documents, revision=revision, proof="commit", version=version)

    async def peek(self) -> str:
        """Return a hash of the commit that the reference names now. Raises errors.SourceError."""
        resolved = await self._resolved(await self._git())
        return hashlib.sha256(" ".join(resolved).encode()).hexdigest()

    async def descends(self, version: str, *, before: str) -> bool:
        """Return whether a commit that was fetched descends from another one. Raises errors.SourceError."""
        git = await self._git()
        # What a fetch of all ancestors did not bring is none of them.
        is_known = await git.succeeds("cat-file", "-e", before)
        return is_known and await git.succeeds("merge-base", "--is-ancestor", before, version)

    async def _resolved(self, git: "_Git") -> tuple[str, str]:
        """Return the full name of the reference, and the object that it names in the remote repository now.

        git itself would prefer a tag to a branch of the same name, and refs/team/main to the branch team/main: whoever
        may push these could replace a branch that is protected.
        """
        ref = self.repository.ref
        names = [ref] if ref == "HEAD" or ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        listed = (await git.run("ls-remote", "--", self.repository.url, *names)).decode(errors="replace")
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed.split("\n"))}
        matches = [(name, found[name]) for name in names if name in found]  # also listed: names that only end so
        if not matches:
            what = ref if ref in names else f"branch or tag {ref}"
            raise self.failure(f"the repository has no {what}: correct ref", code="source_unreachable")
        if len(matches) > 1:
            advice = f'write ref = "{names[0]}" or ref = "{names[1]}"'
            raise self.failure(f"the repository has both a branch and a tag {ref}: {advice}")
        return matches[0]

    async def _documents(self, git: "_Git", commit: str) -> tuple[tuple[fetching.Document, ...], str]:
        """Return the documents, and the id of the file or folder, which is a hash of its content."""
        path = str(pathlib.PurePosixPath(self.repository.path.strip("/")))
        path = "" if path == "." else path  # in a bare repository, git knows no relative paths
        kind, identifier = await self._found(git, commit, path)
        paths = await self._listed(git, identifier, path) if kind == "tree" else [path]
        documents = []
        for each in paths:
            suffix = pathlib.PurePosixPath(each).suffix.lower()
            if kind == "tree" and not self.repository.any_suffix and suffix not in document_reader.SUFFIXES:
                raise self.failure(f"{each} is not a membership document by its name: remove or rename it")
            data = await git.run("cat-file", "blob", f"{commit}:{each}", most=positions.MAX_BYTES)
            documents.append(fetching.Document(f"{each}@{commit[:12]}", data, suffix=suffix))
        return tuple(documents), f"git:{identifier}"

    async def _found(self, git: "_Git", commit: str, path: str) -> tuple[str, str]:
        """Return "blob" or "tree", and the id. Raises errors.SourceError if the path is missing, or something else."""
        if not path:
            return "tree", (await git.run("rev-parse", "--verify", f"{commit}^{{tree}}")).decode().strip()
        found = await git.run("--literal-pathspecs", "ls-tree", "-z", "--", commit, path)
        details, _, name = found.decode(errors="replace").removesuffix("\0").partition("\t")
        if name != path:  # git may also resolve `..` in a path
            message = f"{path} does not exist in the commit {commit[:12]}: correct path, or ref"
            raise self.failure(message, code="source_unreachable")
        mode, kind, identifier = details.split()
        if mode == "120000":
            raise self.failure(f"{path} is a symbolic link: set path to the document itself")
        if kind == "commit":
            raise self.failure(f"{path} is a submodule: make a source of its repository")
        return kind, identifier

    async def _listed(self, git: "_Git", tree: str, path: str) -> list[str]:
        """Return the paths in a folder, without hidden ones. Raises errors.SourceError for folders and links in it."""
        paths = []
        for entry in (await git.run("ls-tree", "-z", tree)).decode(errors="replace").split("\0")[:-1]:
            details, _, name = entry.partition("\t")
            mode = details.split()[0]
            if name.startswith(fetching.HIDDEN):
                continue
            if mode not in ("100644", "100755"):
                raise self.failure(f"{path}/{name} is not a file: a folder in the folder, or a link, is not read")
            paths.append(f"{path}/{name}" if path else name)
        if not paths:
            raise self.failure(f"the folder {path or '/'} contains no document", code="source_empty")
        return paths

    async def _git(self) -> "_Git":
        """Return what runs git in the bare repository of this source, which is made if it is not there."""
        environ = await to_thread.run_sync(self._environ, abandon_on_cancel=True)
        repository = self.repository
        named = hashlib.sha256(f"{repository.url}\0{repository.ref}\0{self.name}".encode()).hexdigest()
        cache = repository.cache / f"{named[:32]}.git"
        try:
            await to_thread.run_sync(lambda: repository.cache.mkdir(mode=0o700, parents=True, exist_ok=True))
            if not await to_thread.run_sync(cache.exists):
                # Renamed into place: another process may make it too, and whoever finds it must find all of it.
                made = repository.cache / f"{uuid.uuid4().hex}.new"
                await to_thread.run_sync(made.mkdir)
                await _Git(made, environ, self).run("init", "--quiet", "--bare")
                await to_thread.run_sync(_move, made, cache)
        except OSError as error:
            message = f"the folder {repository.cache} for copies of repositories cannot be made ({error.strerror})"
            raise self.failure(message, code="source_unreachable") from None
        return _Git(cache, environ, self)

    def _environ(self) -> dict[str, str]:
        repository = self.repository
        environ = processes.inherited(repository.environ)
        for variable in [name for name in environ if name.startswith("GIT_")]:
            del environ[variable]
        options = {"http.followRedirects": "false", "gc.auto": "0", "core.hooksPath": os.devnull}
        if repository.token_file:
            token = secret_files.read(repository.token_file, name=self.name, setting="token_file").reveal()
            login = base64.b64encode(f"x-access-token:{token}".encode()).decode("ascii")
            # For this address only: a URL in a repository, or a redirect, gets no token.
            options[f"http.{repository.url}.extraHeader"] = f"Authorization: Basic {login}"
        for number, (key, text) in enumerate(options.items()):
            environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": text}
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        if repository.key_file:
            ssh += ["-o", "IdentitiesOnly=yes", "-i", str(repository.key_file)]
        if repository.known_hosts_file:
            ssh += ["-o", f'UserKnownHostsFile="{repository.known_hosts_file}"', "-o", "GlobalKnownHostsFile=none"]
        return environ | {
            "GIT_CONFIG_COUNT": str(len(options)),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "LC_ALL": "C",
        }

    def failure(self, message: str, *, code: fetching.Code = "source_invalid") -> SourceError:
        """Return an error of this source."""
        return fetching.failure(self.name, message, code=code)


def _move(made: pathlib.Path, to: pathlib.Path) -> None:
    """Rename a new repository, unless another process was first."""
    try:
        made.rename(to)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        if not os.path.lexists(to):
            raise


@dataclasses.dataclass(frozen=True, slots=True)
class _Git:
    """Runs git in a bare repository, and never in one around it, where the settings may be."""

    folder: pathlib.Path
    environ: Mapping[str, str] = dataclasses.field(repr=False)
    source: GitFetcher

    async def run(self, *arguments: str, most: int = _MAX_LISTING_BYTES) -> bytes:
        """Return what git prints. Raises errors.SourceError if it fails."""
        ended = await self._run(arguments, most)
        if ended.code != 0:
            raise self._failed(ended.stderr.decode(errors="replace"), ended.code)
        return ended.stdout

    async def succeeds(self, *arguments: str) -> bool:
        """Return whether git ends with 0 rather than 1. Raises errors.SourceError for other codes."""
        ended = await self._run(arguments, _MAX_LISTING_BYTES)
        if ended.code not in (0, 1):
            raise self._failed(ended.stderr.decode(errors="replace"), ended.code)
        return ended.code == 0

    async def _run(self, arguments: Sequence[str], most: int) -> processes.Ended:
        timeout = self.source.repository.timeout
        program = processes.Program(("git", "--git-dir=.", *arguments), self.folder, self.environ, timeout, most)
        try:
            ended = await processes.run(program)
        except OSError as error:
            message = f"the program git cannot be run ({error.strerror}): install it"
            raise self.source.failure(message, code="source_unreachable") from None
        if ended.is_too_large:
            raise fetching.too_large(self.source.name)
        if ended.is_late:
            raise self.source.failure(f"git did not end within {timeout:g} s", code="source_timeout")
        return ended

    def _failed(self, stderr: str, code: int) -> SourceError:
        """Return the error for what git says, in its own words: they contain neither token nor key."""
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith(("fatal:", "error:"))), "".join(lines[-1:]))
        if _REFUSED.search(stderr):
            return self.source.failure(f"git was refused access: {said}", code="source_unauthorized")
        advice = f"; if it stays so, delete {self.folder}, which is only a copy" if _OF_COPY.search(said) else ""
        return self.source.failure(f"git failed ({code}): {said[:200]}{advice}", code="source_unreachable")
