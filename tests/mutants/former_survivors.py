"""Defects that the tests once missed, each with the test that was written for it.

Invariant: as in `defects`. Neighbours: `defects` has the others; `__main__` plants both.
"""

from tests.mutants.defects import Defect

FIRST_REASON = ("tests/engine/test_first_reason.py",)
LARGE_DOCUMENTS = ("tests/sources/test_realistic_documents.py",)
CLOSING = ("tests/service/test_closing.py",)

DEFECTS = (
    Defect(
        "leaving the journal open at the end of the service",
        "worker/service/account_service.py",
        "            await self._journal.aclose()\n",
        "",
        ("tests/service/test_app.py",),
    ),
    Defect(
        "leaving the account before a reload open",
        "worker/service/scheduler.py",
        "            await previous.aclose()\n",
        "            pass\n",
        ("tests/service/test_scheduler.py",),
    ),
    Defect(
        "leaving a webhook's connection open",
        "worker/notifications/webhook.py",
        "                await transport.aclose()\n",
        "                pass\n",
        ("tests/notifications/test_webhook.py",),
    ),
    Defect(
        "a second reason to stop that replaces the first",
        "worker/service/shutdown.py",
        "self.reason = self.reason or reason",
        "self.reason = reason",
        ("tests/service/test_shutdown.py",),
    ),
    Defect(
        "readers without a limit",
        "worker/web/throttle.py",
        "    if delay:\n        await anyio.sleep(delay)\n",
        "",
        ("tests/web/test_throttle.py",),
    ),
    Defect(
        "an address that floods delaying all others",
        "worker/web/throttle.py",
        "await _turn(self._of(address)) and await _turn(self._total)",
        "await _turn(self._total) and await _turn(self._of(address))",
        ("tests/web/test_throttle.py",),
    ),
    Defect(
        "idle connections that keep probes out",
        "worker/web/connections.py",
        "            displaced.abort()\n",
        "            connection.abort()\n",
        ("tests/web/test_connections.py",),
    ),
    Defect(
        "rendering the page for every reader",
        "worker/web/fragments.py",
        "if self._rendered is None or self._rendered.tick < tick:",
        "if tick is not None:",
        ("tests/web/test_fragments.py",),
    ),
    Defect(
        "a user in front of a foreign host name",
        "worker/web/security.py",
        "_HOST.fullmatch(",
        "_HOST.match(",
        ("tests/web/test_app.py",),
    ),
    Defect(
        "a page that other machines read without a token",
        "worker/web/app.py",
        "if access.locked:",
        "if False and access.locked:",
        ("tests/web/test_app.py",),
    ),
    Defect(
        "a token that can be guessed",
        "worker/settings/secrets.py",
        "len(text) < MIN_TOKEN_LENGTH",
        "len(text) < 1",
        ("tests/settings/test_secrets.py",),
    ),
    Defect(
        "a short secret that is masked inside words",
        "worker/logs.py",
        "len(text) >= _SHORTEST_ANYWHERE",
        "text",
        ("tests/service/test_logs.py",),
    ),
    Defect(
        "ignoring the Retry-After of a late 429",
        "worker/engine/rate_limiter.py",
        "if self._estimator.limited(sent=sent, now=now, pause=retry_after or 0.0):",
        "if not self._estimator.limited(sent=sent, now=now):\n            return\n        else:",
        ("tests/engine/test_late_answers.py",),
    ),
    Defect(
        "a contradiction that replaces an earlier one",
        "worker/core/planning/inventory.py",
        "self._contradicted |= before",
        "self._contradicted = before",
        ("tests/core/test_inventory_contradictions.py",),
    ),
    Defect(
        "checking for the writer before the wait for a turn",
        "worker/engine/request_executor.py",
        "        sent = await self._limiter.acquire(self.cancellation, urgent=urgent)\n"
        "        if ready is not None:\n"
        "            try:\n"
        "                await ready()\n",
        "        if ready is not None:\n"
        "            await ready()\n"
        "        sent = await self._limiter.acquire(self.cancellation, urgent=urgent)\n"
        "        if ready is not None:\n"
        "            try:\n"
        "                pass\n",
        ("tests/engine/test_writer_check.py",),
    ),
    Defect(
        "going on after the writer lock is lost",
        "worker/engine/membership_writer.py",
        "            self._cancellation.request_stop(error)\n            raise",
        "            raise",
        ("tests/engine/test_writer_check.py",),
    ),
    Defect(
        "outcomes of other intents after a failed commit",
        "worker/engine/outcome_writer.py",
        "[*group, *self._pending]",
        "[*zip([key for key, _ in group], [outcome for _, outcome in group[::-1]], strict=True), *self._pending]",
        ("tests/engine/test_outcomes_after_a_failed_commit.py",),
    ),
    Defect(
        "believing a list of all drivers that lacks named ones",
        "worker/engine/driver_reader.py",
        "            self._directory_complete = False\n        await self.retrieve(rest)",
        "        await self.retrieve(rest)",
        ("tests/engine/test_incomplete_listings.py",),
    ),
    Defect(
        "the first reason of a stop replaced by a later one",
        "worker/engine/cancellation.py",
        "self.reason = self.reason or reason",
        "self.reason = reason",
        ("tests/engine/test_cancellation.py",),
    ),
    Defect(
        "no heartbeat where a reading fails",
        "worker/engine/cancellation.py",
        "        except FleetSyncError:\n            self.heartbeat()\n",
        "        except FleetSyncError:\n",
        FIRST_REASON,
    ),
    Defect(
        "no heartbeat at the end of a reading",
        "worker/engine/cancellation.py",
        "            raise\n        self.heartbeat()\n",
        "            raise\n",
        FIRST_REASON,
    ),
    Defect(
        "no error where a correction cannot be recorded",
        "worker/engine/outcome_writer.py",
        "                self._cancellation.request_stop(error)",
        "                pass",
        FIRST_REASON,
    ),
    Defect(
        "grace periods that start anew when a process becomes the writer again",
        "worker/journal/session.py",
        "database.execute(queries.PROBE)",
        'database.execute("DELETE FROM absences")',
        ("tests/journal/test_becoming_writer_again.py",),
    ),
    Defect(
        "levels of JSON that are never counted down",
        "worker/sources/formats/json_format.py",
        "            self._depth -= 1\n",
        "",
        LARGE_DOCUMENTS,
    ),
    Defect(
        "levels of YAML that are never counted down",
        "worker/sources/formats/yaml_format.py",
        "        self._depth -= 1\n",
        "",
        LARGE_DOCUMENTS,
    ),
    Defect(
        "levels of TOML that are never counted down",
        "worker/sources/formats/toml_format.py",
        "            self._depth -= 1\n",
        "",
        LARGE_DOCUMENTS,
    ),
    Defect(
        "refusing file names that are not ASCII",
        "worker/sources/file_source.py",
        'name.encode(errors="replace").decode() != name',
        "True",
        LARGE_DOCUMENTS,
    ),
    Defect(
        "a date without a zone, compared with one that has one",
        "worker/charge/pause_headers.py",
        "return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)",
        "return moment",
        ("tests/charge/test_retry_after_dates.py",),
    ),
    Defect(
        "control characters in addresses",
        "worker/settings/urls.py",
        " or not character.isprintable()",
        "",
        ("tests/settings/test_address_characters.py",),
    ),
    Defect(
        "backslashes in addresses",
        "worker/settings/urls.py",
        ' or not host or "\\\\" in text:',
        " or not host:",
        ("tests/settings/test_address_characters.py",),
    ),
    Defect(
        "connections that are left open",
        "worker/service/composition.py",
        "await opened.aclose()",
        "opened.aclose()",
        CLOSING,
    ),
    Defect(
        "a body that is left open",
        "worker/charge/transport.py",
        "await response.aclose()",
        "response.aclose()",
        ("tests/charge",),
    ),
    Defect(
        "a run that seems to go on while another process is the writer",
        "worker/service/scheduler.py",
        "                self.service_state.end(None)\n",
        "",
        ("tests/service/test_scheduler.py",),
    ),
    Defect(
        "taking every other reading of the sources for the same",
        "worker/core/planning/merge_sources.py",
        "return _content(one) == _content(other)",
        "return True",
        ("tests/core/test_merge_sources.py",),
    ),
    Defect(
        "keeping broken connections and closing sound ones",
        "worker/journal/connection_pool.py",
        "            if database.broken:\n",
        "            if not database.broken:\n",
        ("tests/journal/test_fence.py",),
    ),
    Defect(
        "writes that were sent reported as not sent",
        "worker/engine/membership_writer.py",
        "    if attempts.count == 0:\n",
        "    if attempts.count != 0:\n",
        ("tests/engine/test_membership_writer.py",),
    ),
    Defect(
        "taking settings that cannot be looked at for missing",
        "worker/settings/loader.py",
        "    except (FileNotFoundError, NotADirectoryError):\n        return True\n",
        "    except OSError:\n        return True\n",
        ("tests/settings/test_loader.py",),
    ),
    Defect(
        "deferring only the first detach of a driver whose attach is never seen",
        "worker/engine/driver_lane.py",
        "            self._excuse(pending.intent.change)\n        return attach_first",
        "        return attach_first",
        ("tests/engine/test_proof.py",),
    ),
    Defect(
        "the address of a source, with its signature, in the representation of its settings",
        "worker/sources/http_source.py",
        "    url: str = dataclasses.field(repr=False)\n",
        "    url: str\n",
        ("tests/sources/test_representations.py",),
    ),
    Defect(
        "a query that the server never ends when its client is no more",
        "worker/sources/sql_postgres.py",
        "[str(max(1, int(timeout * 1000)))]",
        '["0"]',
        ("tests/sources/test_sql_source.py",),
    ),
)
