"""The invariants of RELIABILITY.md 2c that a simulated world is held against, one class each."""

from __future__ import annotations

from tradefan.sim.checkers.alarms import ErrorsNameFaults
from tradefan.sim.checkers.audits import AuditedFirst
from tradefan.sim.checkers.base import Watch
from tradefan.sim.checkers.books import ExactLedger, OthersMoney, Reserved, SameResult
from tradefan.sim.checkers.config import OneConfig, ValidConfig
from tradefan.sim.checkers.costs import CostsTold
from tradefan.sim.checkers.crossing import NoOwnTrades
from tradefan.sim.checkers.doubt import NotPlaced
from tradefan.sim.checkers.fills import AllBooked, AppliedOnce, LastWord, WithinQty
from tradefan.sim.checkers.funds import EqualBooks, OwnFunds, WithinFree
from tradefan.sim.checkers.healing import AllWell, CancelsCome
from tradefan.sim.checkers.holds import DoubtHolds, JournalStops
from tradefan.sim.checkers.journal import SameFold, StoreFollows, WholeTurns
from tradefan.sim.checkers.killing import KilledGone, LatchLasts, NothingBehindKill
from tradefan.sim.checkers.limits import WorstCase
from tradefan.sim.checkers.market import FittingOrders, FreshReference, WithinCollar
from tradefan.sim.checkers.modes import FewChanges, Obeyed
from tradefan.sim.checkers.parents import ParentBudget, RoomLeft
from tradefan.sim.checkers.placing import WithinBounds, WithinWindow, WorkingOnly
from tradefan.sim.checkers.points import InfluxFollows, PointsCounted
from tradefan.sim.checkers.rates import OrdersPerSecond
from tradefan.sim.checkers.runtime import BoundedLanes, BoundedRestarts, TimersOnTime
from tradefan.sim.checkers.schedules import DecisionsInTime, SoundPlans
from tradefan.sim.checkers.sends import DurableIntent, OneCreate, OwnTarget, RisingEpoch
from tradefan.sim.checkers.shares import ShownAtMost, WholeParents, WithinShare
from tradefan.sim.checkers.triggers import GroupBudget, OneThen
from tradefan.sim.witness import Checker

CHECKERS: tuple[type[Watch], ...] = (
    OneCreate,
    WithinQty,
    ParentBudget,
    RoomLeft,
    DurableIntent,
    ExactLedger,
    OthersMoney,
    AppliedOnce,
    AllBooked,
    SameResult,
    SameFold,
    NothingBehindKill,
    LatchLasts,
    WorstCase,
    FreshReference,
    WithinCollar,
    FittingOrders,
    LastWord,
    NotPlaced,
    OwnTarget,
    RisingEpoch,
    OrdersPerSecond,
    PointsCounted,
    StoreFollows,
    InfluxFollows,
    OneConfig,
    ValidConfig,
    BoundedLanes,
    BoundedRestarts,
    TimersOnTime,
    DecisionsInTime,
    WholeParents,
    ShownAtMost,
    WithinShare,
    SoundPlans,
    Reserved,
    WithinFree,
    AuditedFirst,
    AllWell,
    CancelsCome,
    KilledGone,
    FewChanges,
    NoOwnTrades,
    ErrorsNameFaults,
    WholeTurns,
    OwnFunds,
    EqualBooks,
    DoubtHolds,
    JournalStops,
    Obeyed,
    CostsTold,
    OneThen,
    GroupBudget,
    WorkingOnly,
    WithinWindow,
    WithinBounds,
)
"""In the order of their ids, behind them those of rules that have none of their own in that list."""


def all_checkers() -> list[Checker]:
    """Return one fresh checker of each invariant, for one seed."""
    return [make() for make in CHECKERS]
