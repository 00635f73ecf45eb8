"""An account from which two attaches and one detach lead to what is wanted."""

from tests.support import harness
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C, D
from worker.sandbox import state


def account() -> state.SandboxState:
    return harness.state_of({VANS: [A, B], DEPOT: [C], NORTH: [A]}, others=[D])


WANTED = {VANS: [B, D], DEPOT: [A, C]}
"""Two attaches and one detach away from the account; fleet NORTH is nobody's business."""

AFTER = {(B, VANS), (D, VANS), (A, DEPOT), (C, DEPOT), (A, NORTH)}
