"""Global options, usage errors and exit codes, in this process and without any request."""

import pathlib
import re
import shlex
import sys

import pytest

from worker.cli import completion, main


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Call the command line as the console script does, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["fleet-sync", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    "arguments",
    [
        ["plam"],
        ["--nonsense"],
        ["plan", "--nonsense"],
        ["plan", "surplus"],
        ["plan", "--out"],
        ["plan", "--out", "."],
        ["plan", "--fleet", "flt_short"],
        ["once", "--fleet", ""],
        ["apply"],
        ["apply", "one.json", "two.json"],
        ["apply", "."],
        ["once", "--approve"],
        ["once", "--approve", "yes"],
        ["once", "--approve", ""],
        ["once", "--approve", "sha256:" + "A" * 64],
        ["once", "--approve", "sha256:" + "a" * 64 + "\n"],
        ["approve", "sha256:" + "a" * 63],
        ["export", "--format", "xml"],
        ["export", "--by", "name"],
        ["schema"],
        ["schema", "everything"],
        ["sandbox", "--port", "65536"],
        ["sandbox", "--rate", "0"],
        ["sandbox", "--rate", "nan"],
        ["sandbox", "--fault", "500"],
        ["sandbox", "--fault", "500=2"],
        ["sandbox", "--fault", "gremlins=0.1"],
        ["--log-level", "loud", "plan"],
        ["--log-format", "xml", "plan"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_64_and_says_so_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert _call(monkeypatch, *arguments) == main.USAGE == 64
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith(("Usage: fleet-sync", "Error: Option"))


@pytest.mark.parametrize("command", [[], *([name] for name in main.COMMANDS)], ids=" ".join)
def test_every_command_has_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert _call(monkeypatch, *command, "--help") == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith(f"Usage: fleet-sync {''.join(command)}".rstrip())
    assert stderr == ""


def test_the_help_lists_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call(monkeypatch, "-h") == 0
    listed = re.findall(r"^  ([a-z]+)  ", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(main.COMMANDS)


def test_without_a_command_it_shows_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call(monkeypatch) == 0
    bare = capsys.readouterr()
    assert _call(monkeypatch, "--help") == 0
    assert bare == capsys.readouterr()


@pytest.mark.parametrize(
    ("written", "meant"), [("plam", "plan"), ("histroy", "history"), ("exprot", "export"), ("undoo", "undo")]
)
def test_a_misspelled_command_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], written: str, meant: str
) -> None:
    assert _call(monkeypatch, written) == main.USAGE
    assert f"No such command '{written}'. Did you mean '{meant}'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", *main.COMMANDS, "accounts list", "accounts add", "accounts remove"])
def test_every_help_has_examples_that_can_be_run_and_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert _call(monkeypatch, *name.split(), "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage: ")] == []
    examples = [line.strip() for line in lines[lines.index("Examples:") + 1 :] if line.strip()]
    assert examples
    for example in examples:
        found = re.search(r"fleet-sync ([^>)|]+)", example)
        assert found and name in found[1], example
        words = [word.replace("DIGEST", "0" * 64) for word in shlex.split(found[1])]
        with main.cli.make_context("fleet-sync", words) as context:
            called, command, rest = main.cli.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
            command.make_context(called, rest, parent=context).close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_asks_this_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    assert _call(monkeypatch, "completion", shell) == 0
    script = capsys.readouterr().out
    assert f"{completion.VARIABLE}={shell}_complete" in script and "fleet-sync" in script


def test_commands_are_completed_without_being_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(completion.VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "fleet-sync s")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.delitem(sys.modules, "worker.cli.sandbox", raising=False)
    assert _call(monkeypatch) == 0
    assert capsys.readouterr().out.split() == ["plain,show", "plain,sources", "plain,schema", "plain,sandbox"]
    assert "worker.cli.sandbox" not in sys.modules


def test_it_knows_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call(monkeypatch, "--version") == 0
    assert re.fullmatch(r"fleet-sync \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        ({}, [], "config/fleet-sync.toml"),
        ({"FLEET_SYNC_CONFIG": "of-the-environment.toml"}, [], "of-the-environment.toml"),
        ({"FLEET_SYNC_CONFIG": "of-the-environment.toml"}, ["--config", "given.toml"], "given.toml"),
    ],
)
def test_the_settings_file_is_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
    environ: dict[str, str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLEET_SYNC_CONFIG", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert _call(monkeypatch, *arguments, "plan", "--json") == 1
    assert f'"message": "{expected}: settings file not found' in capsys.readouterr().out


@pytest.mark.parametrize("command", [["check"], ["plan"], ["history"], ["sources"]], ids=" ".join)
@pytest.mark.parametrize("account", [[], ["--account", "acme"]], ids=["file", "folder"])
def test_a_place_that_cannot_be_looked_at_is_an_error_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], account: list[str], command: list[str]
) -> None:
    """As for a folder that this user may not search: asking what is there fails, before anything is read."""
    code = _call(monkeypatch, "--config", "x" * 300, *account, *command)
    said = "".join(capsys.readouterr())
    assert "the output could not be written" not in said
    if account:
        assert (code, "--account needs a folder of accounts" in said) == (main.USAGE, True)
    else:
        assert (code, "cannot read the file (File name too long): check its permissions" in said) == (1, True)


def test_a_metrics_file_in_a_place_that_cannot_be_looked_at_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call(monkeypatch, "once", "--metrics-file", f"{'x' * 300}/metrics") == main.USAGE
    assert "is not a folder" in capsys.readouterr().err
