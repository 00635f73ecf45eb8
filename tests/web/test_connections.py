"""The table of connections: when there are too many, the address that has most of them makes room."""

from worker.web import connections


class Connection:
    """A connection that records whether it was aborted."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_up_to_the_limit_every_connection_stays() -> None:
    table, some = connections.ConnectionTable(max_connections=3), [Connection() for _ in range(3)]
    for each in some:
        table.add(each, "192.0.2.1")
    assert not any(each.aborted for each in some)


def test_beyond_the_limit_the_oldest_of_the_busiest_address_is_aborted() -> None:
    table = connections.ConnectionTable(max_connections=4)
    quiet, *flood = (Connection() for _ in range(6))
    table.add(quiet, "192.0.2.1")
    for each in flood:
        table.add(each, "192.0.2.2")
    assert [each.aborted for each in flood] == [True, True, False, False, False]
    assert not quiet.aborted


def test_a_single_connection_of_an_address_is_not_displaced_by_a_flood() -> None:
    table, probe = connections.ConnectionTable(max_connections=4), Connection()
    for _ in range(4):
        table.add(Connection(), "192.0.2.2")
    table.add(probe, "192.0.2.1")
    for _ in range(100):
        table.add(Connection(), "192.0.2.2")
    assert not probe.aborted


def test_a_closed_connection_makes_room() -> None:
    table, first, second = connections.ConnectionTable(max_connections=1), Connection(), Connection()
    table.add(first, "192.0.2.1")
    table.remove(first)
    table.remove(first)
    table.add(second, "192.0.2.1")
    assert not first.aborted
    assert not second.aborted
