"""`fleet-sync worker` on the command line, and what the other commands do without it."""

import pathlib
import subprocess
import sys

import pytest

from worker.cli import main

ROOT = pathlib.Path(__file__).parents[2]

SINGLE = """
import sys
from worker.cli import context, main, once, run
from worker.service import account_reader, account_supervisor, app, composition
imported = {name.partition(".")[0] for name in sys.modules}
print(sorted(imported & {"croniter", "procrastinate", "psycopg", "psycopg_pool"}))
"""


@pytest.mark.integration
def test_one_account_or_a_folder_does_not_import_the_engine_of_a_cluster() -> None:
    done = subprocess.run([sys.executable, "-c", SINGLE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fleet-sync", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_worker_needs_a_cluster(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call(monkeypatch, "--config", str(tmp_path), "worker") == 1
    assert "it has no section [cluster]" in capsys.readouterr().err
    assert _call(monkeypatch, "--config", str(tmp_path / "fleet-sync.toml"), "worker") == 64


def test_a_worker_runs_all_accounts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call(monkeypatch, "--config", str(tmp_path), "--account", "acme", "worker") == 64
    assert "leave --account out" in capsys.readouterr().err


WITHOUT = """
import sys
sys.modules["procrastinate"] = None  # makes the import fail
from worker.cli import main
main.main()
"""


@pytest.mark.integration
def test_a_worker_without_the_engine_says_what_to_install(tmp_path: pathlib.Path) -> None:
    (tmp_path / "_defaults.toml").write_text('[cluster]\nurl = "postgresql://nowhere.invalid/db"\n')
    command = [sys.executable, "-c", WITHOUT, "--config", str(tmp_path), "worker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'fleet-sync[cluster]'" in done.stderr
