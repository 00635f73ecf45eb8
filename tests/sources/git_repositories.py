"""Repositories for tests, made by the program git."""

import os
import pathlib
import subprocess

IDENTITY = {
    "GIT_AUTHOR_NAME": "HR",
    "GIT_AUTHOR_EMAIL": "hr@example.com",
    "GIT_COMMITTER_NAME": "HR",
    "GIT_COMMITTER_EMAIL": "hr@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Repository:
    """A repository with a work tree, and `url` to fetch from it."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Make it, with the branch main and no commit."""
        self.folder = folder
        self.url = f"file://{folder}"
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Run git in the work tree, and return what it prints."""
        command = ["git", "-C", str(self.folder), *arguments]
        ended = subprocess.run(command, env={**os.environ, **IDENTITY}, check=True, capture_output=True, text=True)
        return ended.stdout.strip()

    def commit(self, files: dict[str, str], *, amend: bool = False) -> str:
        """Commit these files, and no others; return the commit."""
        self.git("rm", "-r", "-q", "--ignore-unmatch", ".")
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=People", *(["--amend"] if amend else []))
        return self.git("rev-parse", "HEAD")
