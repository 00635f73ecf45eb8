"""The ports: what the engine needs from outside, each method with a documented promise."""

import dataclasses
import inspect

import pytest

from tests.core import worlds
from worker.core.model.actual import Driver
from worker.core.model.identifiers import IntentKey
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Charge, Clock, Intent, Journal, Progress, Source
from worker.core.model.replies import WriteReply

PORTS = (Charge, Source, Journal, Clock, Progress)


@pytest.mark.parametrize("port", PORTS)
def test_every_method_of_a_port_says_what_it_promises(port: type) -> None:
    methods = [each for name, each in inspect.getmembers(port, inspect.isfunction) if not name.startswith("_")]
    assert methods
    assert all(inspect.getdoc(method) for method in methods)


def test_what_crosses_a_port_never_changes() -> None:
    change = Change(Action.ATTACH, worlds.A, worlds.VANS)
    intent = Intent(IntentKey("key_1"), change)
    with pytest.raises(dataclasses.FrozenInstanceError):
        intent.key = IntentKey("key_2")  # type: ignore[misc]
    assert WriteReply(Driver(worlds.A, frozenset())).request_id is None
