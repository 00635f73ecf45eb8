"""The planted defects of the accounts of a cluster, and of who may write for them.

Neighbours: `defects` says what a defect is, `fence_defects` has those of the workers.
"""

from tests.mutants.defects import Defect

REGISTRY = ("tests/accounts/test_registry_postgres.py",)
COMMANDS = ("tests/accounts/test_commands_postgres.py",)
REQUESTS = ("tests/service/test_cluster_requests_postgres.py",)

DEFECTS = (
    Defect(
        "an account comes back with an epoch that a worker had",
        "worker/accounts/registry.py",
        "coalesce(max(epoch), 0)",
        "0",
        REGISTRY,
    ),
    Defect(
        "an account comes back as settled, although its worker may still send",
        "worker/accounts/registry.py",
        "coalesce(max(permit_seconds), 0)",
        "0",
        REGISTRY,
    ),
    Defect(
        "settings are replaced without being asked for",
        "worker/accounts/registry.py",
        "            if not replace:",
        "            if False and not replace:",
        (*REGISTRY, *COMMANDS),
    ),
    Defect(
        "a process without a claim writes for an account of a cluster",
        "worker/journal/session.py",
        "                self._require_own(database)\n",
        "                pass\n",
        REGISTRY,
    ),
    Defect(
        "settings are added that are not valid",
        "worker/service/cluster.py",
        "settings = self.validated(name, written, shown=str(path))",
        'settings = self.validated("acme", b"sources = [{path = \'x\'}]", shown=str(path))',
        COMMANDS,
    ),
    Defect(
        "a command takes any key after a rejection",
        "worker/cli/context.py",
        "composition.account(settings, own, progress=display",
        "composition.account(settings, credentials, progress=display",
        COMMANDS,
    ),
    Defect(
        "a command leaves the account claimed",
        "worker/service/cluster_command.py",
        "                await _left(own, claim, settled=settled)",
        "                pass",
        COMMANDS,
    ),
    Defect(
        "a command writes with the key of another account",
        "worker/service/cluster_run.py",
        "        if other is not None:\n            problem = Problem(claim.name,",
        "        if False:\n            problem = Problem(claim.name,",
        COMMANDS,
    ),
    Defect(
        "an account is added while a folder's run writes for it",
        "worker/accounts/registry.py",
        'return all(row["free"]',
        'return True or all(row["free"]',
        COMMANDS,
    ),
    Defect(
        "a key in a comment is stored in the database",
        "worker/service/cluster.py",
        "        _require_no_key(text, shown=str(path))\n",
        "",
        COMMANDS,
    ),
    Defect(
        "a run that was asked for is forgotten while the database is away",
        "worker/service/cluster_worker.py",
        "                self._wanted.add(name)\n                raise",
        "                raise",
        REQUESTS,
    ),
    Defect(
        "two accounts can never exchange their keys",
        "worker/journal/claims.py",
        "            if other is not None:\n                database.execute(cluster_queries.LEAVE_KEY",
        "            if False:\n                database.execute(cluster_queries.LEAVE_KEY",
        REQUESTS,
    ),
    Defect(
        "an account that starts for the first time while it is added",
        "worker/accounts/registry.py",
        'while not (found := self._database.query(_TAKE_LOCK, {"name": name})):',
        'while (found := self._database.query(_TAKE_LOCK, {"name": name})) is None:',
        ("tests/accounts/test_registry_postgres.py",),
    ),
)
