"""The planted defects of the accounts of a cluster, and of who may write for them.

Neighbours: `defects` says what a defect is, `fence_defects` has those of the workers.
"""

from tests.mutants.defects import Defect

REGISTRY = ("tests/accounts/test_registry_postgres.py",)
COMMANDS = ("tests/accounts/test_commands_postgres.py",)

DEFECTS = (
    Defect(
        "an account comes back with an epoch that a worker had",
        "worker/accounts/registry.py",
        "coalesce(max(epoch), 0)",
        "0",
        REGISTRY,
    ),
    Defect(
        "an account comes back as released, although its worker may still send",
        "worker/accounts/registry.py",
        "coalesce(bool_and(released), true)",
        "true",
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
        "a command leaves the account claimed",
        "worker/service/cluster_command.py",
        "                await _left(own, claim)",
        "                pass",
        COMMANDS,
    ),
)
