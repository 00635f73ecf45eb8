"""All planted defects. Neighbours: the modules named here list them, `__main__` plants them."""

from tests.mutants import (
    account_defects,
    charge_defects,
    decision_defects,
    defects,
    fence_defects,
    former_survivors,
    guard_defects,
    kind_defects,
    output_defects,
    people_defects,
    registry_defects,
    source_defects,
    stranding,
    surroundings,
)

DEFECTS = (
    *account_defects.DEFECTS,
    *charge_defects.DEFECTS,
    *decision_defects.DEFECTS,
    *defects.DEFECTS,
    *fence_defects.DEFECTS,
    *former_survivors.DEFECTS,
    *guard_defects.DEFECTS,
    *kind_defects.DEFECTS,
    *output_defects.DEFECTS,
    *people_defects.DEFECTS,
    *registry_defects.DEFECTS,
    *source_defects.DEFECTS,
    *stranding.DEFECTS,
    *surroundings.DEFECTS,
)
