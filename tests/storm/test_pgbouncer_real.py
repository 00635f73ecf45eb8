"""A cluster behind a PgBouncer that gives a session to each transaction anew: everything works, the fence too."""

import pathlib

from tests.storm import nemesis, scenario
from tests.support import command, pgbouncer

FORM = scenario.Form(
    accounts=4,
    interval=2.0,
    drivers=12,
    latency=0.05,
    moves=6,
    changes=1.0,
    storm=nemesis.Storm(seconds=6, workers=2, stops=0, kills=1, pause=0.5),
    seed=7,
    patience=120.0,
)

COMMANDS = [
    ("accounts", "list"),
    ("--account", "a00000", "history"),
    ("--account", "a00000", "audit"),
    ("--account", "a00000", "pause", "--for", "1h"),
    ("--account", "a00000", "resume"),
]


def test_workers_share_accounts_through_a_pooler_in_transaction_mode(
    tmp_path: pathlib.Path, postgres_host: str
) -> None:
    pgbouncer.require()
    with pgbouncer.running(postgres_host, sessions=6) as host:
        verdict = scenario.Scenario(FORM, tmp_path, host).play()
        for call in COMMANDS:
            ended = command.run("--config", str(tmp_path), *call)
            assert ended.code == 0, (call, ended.stderr)
    assert verdict.writes.stale == ()
    assert verdict.writes.unknown == ()
    assert verdict.wrong == {}
    assert verdict.arrivals > FORM.accounts
    assert set(verdict.codes) == {143}
    logs = "".join(log.read_text() for log in tmp_path.glob("worker-*.log"))
    for broken in ("queue_unavailable", "permits_not_renewed", "account_not_released", "crashed"):
        assert broken not in logs
