"""Ids: 16 letters of base32, never twice, and a check that tells own from foreign."""

from __future__ import annotations

import pytest

from tradefan.core.ids import EPOCH_MAX, client_order_id, is_instance, is_own, made_as, next_epoch, parent_id
from tradefan.errors import Defect, Refused


@pytest.mark.failure("OR-05")
def test_id_when_made_then_it_is_deterministic_and_has_its_parts() -> None:
    """instance 3 + epoch 4 + sequence 7 + check 2, lower case base32; a parent's begins with p."""
    made = client_order_id("dev", 1, 2)
    assert (made[:14], len(made)) == ("devaaabaaaaaac", 16)
    assert made == client_order_id("dev", 1, 2)
    assert parent_id("dev", 1, 2) == "p" + made


def test_id_when_read_then_says_which_one_it_was() -> None:
    """Epoch and sequence, so that one can be told from those that are still to come."""
    assert made_as(client_order_id("dev", 1, 2)) == (1, 2)
    assert made_as(client_order_id("dev", EPOCH_MAX - 1, 2**35 - 1)) == (EPOCH_MAX - 1, 2**35 - 1)


@pytest.mark.failure("OR-04", "OR-26")
def test_ids_when_many_then_none_repeats() -> None:
    """Epochs and sequences never share an id."""
    made = [client_order_id("dev", epoch, number) for epoch in range(1, 40) for number in range(50)]
    assert len(dict.fromkeys(made)) == len(made)


@pytest.mark.failure("OR-05")
def test_own_id_when_one_letter_or_a_swap_differs_then_it_is_foreign() -> None:
    """The check finds every single change and every swap of neighbours."""
    made = client_order_id("dev", 77, 123_456)
    assert is_own(made, "dev")
    assert not is_own(made, "abc")
    changed = [
        made[:at] + letter + made[at + 1 :] for at in range(16) for letter in "az27" if letter != made[at]
    ]
    swapped = [
        made[:at] + made[at + 1] + made[at] + made[at + 2 :]
        for at in range(3, 15)
        if made[at] != made[at + 1]
    ]
    assert not any(is_own(text, text[:3]) for text in (*changed, *swapped))
    assert not any(is_own(text, "dev") for text in ("", made[:15], made.upper(), made[:15] + "1"))


@pytest.mark.failure("OR-04")
def test_epoch_when_exhausted_then_it_is_refused() -> None:
    """The epoch never wraps: at 2^20 starts another instance name begins anew."""
    assert next_epoch(0) == 1
    with pytest.raises(Refused, match="EPOCH_EXHAUSTED"):
        next_epoch(EPOCH_MAX - 1)


@pytest.mark.parametrize("instance", ["de", "DEV", "de1", "devv"])
def test_instance_when_malformed_then_no_id_is_made(instance: str) -> None:
    """Three characters of a-z2-7."""
    assert not is_instance(instance)
    with pytest.raises(Defect):
        client_order_id(instance, 1, 1)
