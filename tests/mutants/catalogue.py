"""All deliberate faults, by the part of the program in which somebody might have made the mistake."""

from __future__ import annotations

from tests.mutants.catalogue_books import BOOKS
from tests.mutants.catalogue_contingent import CONTINGENT
from tests.mutants.catalogue_execution import EXECUTION
from tests.mutants.catalogue_journal import JOURNAL
from tests.mutants.catalogue_kernel import KERNEL
from tests.mutants.catalogue_orders import ORDERS
from tests.mutants.catalogue_points import POINTS
from tests.mutants.catalogue_safety import SAFETY
from tests.mutants.catalogue_venue import VENUE
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *ORDERS,
    *VENUE,
    *BOOKS,
    *JOURNAL,
    *SAFETY,
    *KERNEL,
    *CONTINGENT,
    *EXECUTION,
    *POINTS,
)
