"""Builds the parts of a run. The product, the tests, the benchmarks and the simulation all wire with this.

Invariant: one run context goes to every part of one run. Neighbours: `run_context` holds what the parts share,
`service.composition` calls this; the simulation plants a defect by passing other `Parts`.
"""

import dataclasses
from collections.abc import Callable, Sequence

from worker.core.model.ports import Source
from worker.engine import applier, plan_builder, reader, reconciler, run_context


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """The classes that a run is built from."""

    reader_class: type[reader.Reader] = reader.Reader
    builder_class: type[plan_builder.PlanBuilder] = plan_builder.PlanBuilder
    applier_class: type[applier.Applier] = applier.Applier
    reconciler_class: type[reconciler.Reconciler] = reconciler.Reconciler


DEFAULT_PARTS = Parts()


def new_plan_builder(
    context: run_context.RunContext,
    *,
    rules: plan_builder.Rules,
    sources: Sequence[Source],
    parts: Parts = DEFAULT_PARTS,
) -> plan_builder.PlanBuilder:
    """Return what reads, plans and evaluates, and changes nothing."""
    return parts.builder_class(context, parts.reader_class(context), rules=rules, sources=sources)


def new_reconciler(
    context: run_context.RunContext,
    *,
    rules: plan_builder.Rules,
    sources: Sequence[Source],
    show: Callable[[plan_builder.PlanResult], None] = lambda plan_result: None,
    parts: Parts = DEFAULT_PARTS,
) -> reconciler.Reconciler:
    """Return one run. `show` receives the plan before anything of it is applied."""
    account_reader = parts.reader_class(context)
    builder = parts.builder_class(context, account_reader, rules=rules, sources=sources)
    return parts.reconciler_class(context, builder, account_reader, parts.applier_class(context), show=show)
