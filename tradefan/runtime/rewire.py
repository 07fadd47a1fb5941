"""Wires a running kernel anew between two turns: actors come, go, and learn of each other.

A configuration may name other actors than the one before. Names keep their refs for the whole run, so that
what is on its way finds whom it was meant for, or nobody. An actor whose wiring has changed is built anew of
the state that it has, as from a snapshot; one of another `kind` ends and begins as a new instance, as behind
a crash, but nobody is to blame. Ports and their links stay.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tradefan.errors import Refused
from tradefan.messages.control import ConfigChanged, SwapConfig
from tradefan.runtime.supervisor import Tree
from tradefan.runtime.system import ActorSpec, Cell, System, gone

if TYPE_CHECKING:
    from tradefan.runtime.kernel import Kernel


def prepare(kernel: Kernel, config: Any, swap: SwapConfig) -> System | None:
    """Return the system of a configuration, None where it is wired as it is; nothing changes.

    Raises:
        Refused: it cannot be wired, not without other links (OTHER_LINKS), or not now (STOPPING).
    """
    old = kernel.system
    if old.rewire is None:
        return None
    new = old.rewire(config, swap, kernel.refs)
    if new is None:
        return None
    if [spec.name for spec in new.ports] != [spec.name for spec in old.ports]:
        raise Refused("OTHER_LINKS", "feeds: another venue takes effect at a restart")
    if _names(new) == _names(old) and not _changed(old, new):
        return None
    if kernel.life.stopping is not None:
        raise Refused("STOPPING", "other actors would begin, and the daemon is about to stop")
    _try(old, new)
    return new


def carry_out(kernel: Kernel, new: System) -> None:
    """Let the actors of a system take the places of those before; who is new begins."""
    old, changed = kernel.system, _changed(kernel.system, new)
    kernel.system, kernel.refs = new, new.refs()
    wired = {spec.name for spec in new.actors}
    for spec in old.actors:
        if spec.name not in wired:
            _leave(kernel, spec)
    begin = [_enter(kernel, spec) for spec in new.actors if spec.name not in _names(old)]
    fallen: list[tuple[Cell, Exception]] = []
    for spec in changed:
        cell = _cell(kernel, spec.name)
        begins, cell.spec = _begins_again(cell.spec, spec), spec
        if begins:
            # It asks for all that it needs; what was meant for its predecessor might pass for the answer.
            cell.place(None)
            cell.mail.clear()
            begin.append(spec.name)
        elif cell.actor is not None:
            try:
                cell.place(spec.factory(cell.actor.state))
            except Exception as error:  # noqa: BLE001 as wherever an actor is built
                fallen.append((cell, error))
    life = kernel.life
    life.tree = Tree(new.tree, life.tree.state)
    life.tree.forget(begin)
    for name in begin:
        life.start(name)
    for cell, why in fallen:
        life.crashed(cell, ConfigChanged(kernel.state.config_id), why)


def _names(system: System) -> list[str]:
    return [spec.name for spec in system.actors]


def _changed(old: System, new: System) -> list[ActorSpec]:
    """Return the specs of actors that both have and that are not built alike, in the order of `new`."""
    before = {spec.name: spec for spec in old.actors}
    return [
        spec
        for spec in new.actors
        if spec.name in before and not _alike(before[spec.name].factory, spec.factory)
    ]


def _alike(one: object, two: object) -> bool:
    """Say whether two factories build the same: the same class of equal wirings, however they are wrapped."""
    if isinstance(one, partial) and isinstance(two, partial):
        same = one.func == two.func and one.keywords == two.keywords and len(one.args) == len(two.args)
        return same and all(map(_alike, one.args, two.args))
    return bool(one == two)


def _begins_again(old: ActorSpec, new: ActorSpec) -> bool:
    return bool(old.kind != new.kind)


def _try(old: System, new: System) -> None:
    """Build what begins, to throw it away: an actor that cannot be built refuses the whole configuration."""
    before = {spec.name: spec for spec in old.actors}
    for spec in new.actors:
        if spec.name not in before or _begins_again(before[spec.name], spec):
            spec.factory(None)


def _leave(kernel: Kernel, spec: ActorSpec) -> None:
    """Let an actor go, with its mail and its timers; its place stays, for who is to be lost on the way."""
    cell = _cell(kernel, spec.name)
    cell.place(None)
    cell.generation += 1
    cell.spec = gone(spec.name, spec.limits)
    cell.mail.clear()


def _enter(kernel: Kernel, spec: ActorSpec) -> str:
    """Make a place for a new actor, or give it back the one that its name had."""
    ref = kernel.refs[spec.name]
    known = kernel.cells[ref] if ref < len(kernel.cells) else None
    if known is None:
        kernel.new_cell(spec)
    else:
        known.spec = spec
        kernel.on_cell(known)
    return spec.name


def _cell(kernel: Kernel, name: str) -> Cell:
    cell = kernel.cells[kernel.refs[name]]
    assert cell is not None
    return cell
