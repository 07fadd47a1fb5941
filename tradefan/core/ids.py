"""Ids that only the OMS allocates: instance 3 + epoch 4 + sequence 7 + check 2, base32 in lower case.

Sixteen characters of `a-z2-7` fit every venue's limit. The epoch rises durably at each start, so no
id is ever made twice; the check tells an own id from a foreign one that happens to look alike.
"""

from __future__ import annotations

from tradefan.errors import Defect, Refused
from tradefan.units import AccountId, ClientOrderId, InstrumentId, ParentId

EPOCH_MAX = 2**20
SEQUENCE_MAX = 2**35
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
# The largest prime below 32 * 32: every change of one character and every swap of two changes the check.
_MODULUS = 1021


def next_epoch(epoch: int) -> int:
    """Return the epoch of the next start; it never wraps.

    Raises:
        Refused: EPOCH_EXHAUSTED at 2^20 starts: another instance name begins anew.
    """
    if epoch + 1 >= EPOCH_MAX:
        raise Refused("EPOCH_EXHAUSTED", f"expected an epoch below {EPOCH_MAX}, got {epoch + 1}")
    return epoch + 1


def client_order_id(instance: str, epoch: int, sequence: int) -> ClientOrderId:
    """Return the id of the `sequence`-th child of an epoch."""
    return ClientOrderId(_compose(instance, epoch, sequence))


def parent_id(instance: str, epoch: int, sequence: int) -> ParentId:
    """Return the id of the `sequence`-th parent of an epoch; `p` keeps it apart from a child's."""
    return ParentId("p" + _compose(instance, epoch, sequence))


def is_own(text: str, instance: str) -> bool:
    """Say whether an instance of this name made the id."""
    return (
        len(text) == 16
        and text.startswith(instance)
        and all(letter in _ALPHABET for letter in text)
        and text[14:] == _check(text[:14])
    )


def made_as(name: ClientOrderId) -> tuple[int, int]:
    """Return epoch and sequence of an own id (see `is_own`)."""
    return _number(name[3:7]), _number(name[7:14])


def keyed(client_order_id: ClientOrderId, account: AccountId, instrument: InstrumentId) -> ClientOrderId:
    """Name an order of others whose id another one here has: a symbol's ids are its own (OR-25)."""
    return ClientOrderId(f"{client_order_id} {account} {instrument}")


def wire_id(client_order_id: ClientOrderId | str) -> ClientOrderId:
    """Return the id by which the venue knows an order; there is no space in any."""
    return ClientOrderId(client_order_id.partition(" ")[0])


def is_instance(text: str) -> bool:
    """Say whether a text can be an instance's name."""
    return len(text) == 3 and all(letter in _ALPHABET for letter in text)


def _compose(instance: str, epoch: int, sequence: int) -> str:
    if not is_instance(instance) or not 0 <= epoch < EPOCH_MAX or not 0 <= sequence < SEQUENCE_MAX:
        raise Defect(f"no id can be made of instance {instance!r}, epoch {epoch}, sequence {sequence}")
    body = instance + _base32(epoch, 4) + _base32(sequence, 7)
    return body + _check(body)


def _check(body: str) -> str:
    total = 0
    for letter in body:
        total = (total * 32 + _ALPHABET.index(letter) + 1) % _MODULUS
    return _base32(total, 2)


def _base32(number: int, width: int) -> str:
    letters = []
    for _ in range(width):
        number, digit = divmod(number, 32)
        letters.append(_ALPHABET[digit])
    return "".join(reversed(letters))


def _number(text: str) -> int:
    number = 0
    for letter in text:
        number = number * 32 + _ALPHABET.index(letter)
    return number
