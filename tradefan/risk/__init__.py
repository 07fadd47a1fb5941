"""Risk rules: pure checks of one intent, called inside the turn that writes it."""

from tradefan.risk import limits as _limits  # noqa: F401 importing registers the rules
from tradefan.risk.check import Approved, check, reduces

__all__ = ["Approved", "check", "reduces"]
