"""Defects in how many accounts are kept in one process.

Invariant: as in `defects`. Neighbours: `defects` and `former_survivors` have the others; `__main__` plants them.
"""

from tests.mutants.defects import Defect

FOLDER = ("tests/settings/test_account_folder.py",)
FILES = ("tests/core/test_account_files.py",)
SUPERVISOR = ("tests/service/test_account_supervisor.py",)
COMMANDS = ("tests/cli/test_accounts.py",)
PAGES = ("tests/web/test_accounts_page.py",)

DEFECTS = (
    Defect(
        "using a file of a folder that is still being written",
        "worker/core/model/account_files.py",
        "if before.get(name) == signature}",
        "}",
        FILES,
    ),
    Defect(
        "ending an account whose file is replaced between two looks",
        "worker/core/model/account_files.py",
        "known.keys() - present.keys() - before.keys()",
        "known.keys() - present.keys()",
        FILES,
    ),
    Defect(
        "letting two accounts use one key",
        "worker/core/model/account_files.py",
        "if owner != name:",
        "if False and owner != name:",
        (*FILES, *SUPERVISOR),
    ),
    Defect(
        "keeping the key of an account that has ended",
        "worker/service/account_runner.py",
        "            self._common.folder.release(self.name)\n",
        "",
        SUPERVISOR,
    ),
    Defect(
        "using the key of a single account for every account",
        "worker/settings/secrets.py",
        "if settings.key_place is not None:",
        "if settings.key_place is not None and KEY_VARIABLE not in environ:",
        FOLDER,
    ),
    Defect(
        "allowing a variable that would be for every account",
        "worker/cli/context.py",
        "if misused := [*keys, *loader.overriding(os.environ)]:",
        "if misused := []:",
        COMMANDS,
    ),
    Defect(
        "reading a file of a folder without the defaults beside it",
        "worker/cli/context.py",
        "if os.path.lexists(path.with_name(loader.DEFAULTS)):",
        "if False and os.path.lexists(path.with_name(loader.DEFAULTS)):",
        COMMANDS,
    ),
    Defect(
        "one journal for every account",
        "worker/settings/account_folder.py",
        "url.startswith(urls.SQLITE) and PLACEHOLDER not in url",
        "url.startswith(urls.SQLITE) and False",
        FOLDER,
    ),
    Defect(
        "a defect in one account that ends the others",
        "worker/service/account_runner.py",
        "except Exception:  # a defect in one account must not end the others",
        "except ZeroDivisionError:",
        SUPERVISOR,
    ),
    Defect(
        "going on without the defaults once their file is gone",
        "worker/service/account_supervisor.py",
        "if account_folder.DEFAULTS in changes.removed:",
        "if False:",
        SUPERVISOR,
    ),
    Defect(
        "changed defaults that count as changed in every scan from then on",
        "worker/service/account_supervisor.py",
        "again = {*self._runners, *changes.changed}",
        "again = {*self._runners}",
        ("tests/service/test_account_supervisor_folder.py",),
    ),
    Defect(
        "an account that goes on after its file was removed",
        "worker/service/account_supervisor.py",
        "                runner.remove()\n",
        "",
        SUPERVISOR,
    ),
    Defect(
        "starting an account again while its predecessor still runs",
        "worker/service/account_runner.py",
        "if after is not None:",
        "if False and after is not None:",
        ("tests/service/test_account_runner.py",),
    ),
    Defect(
        "links of one account that lead to another page",
        "worker/web/accounts_page.py",
        'templating.Place(f"{PREFIX}/{name}", name)',
        'templating.Place("", name)',
        PAGES,
    ),
    Defect(
        "one incident for several accounts",
        "worker/notifications/payloads.py",
        ', about.get("name"))',
        ")",
        ("tests/notifications/test_payloads.py",),
    ),
    Defect(
        "making everything wait while a large account is planned",
        "worker/service/composition.py",
        "compute=concurrency.in_thread",
        "compute=concurrency.at_once",
        ("tests/service/test_composition.py",),
    ),
)
