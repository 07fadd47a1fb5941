"""The registry: one class per name, found again with its settings, refused with a suggestion."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tradefan import contracts
from tradefan.contracts import Settings, lookup, names, plugins, read_settings, register
from tradefan.errors import Defect, Refused
from tradefan.setting import suggest


class Mine(Settings, frozen=True, kw_only=True):
    size: int = 1


class Half(Settings, frozen=True, kw_only=True):
    """Settings of which one is TradeFan's own."""

    private: ClassVar[tuple[str, ...]] = ("insist",)
    insist: bool = False
    tries: int = 3


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "_plugins", {})


def test_plugin_when_registered_then_it_is_found_by_kind_and_name() -> None:
    """Kinds are apart; names are sorted for display, plug-ins stand in order of registration."""

    @register("store", "b")
    class First:
        """First.

        More.
        """

    @register("store", "a", settings=Mine)
    class Second: ...

    register("venue", "b")(Second)
    assert names("store") == ("a", "b")
    assert [plugin.name for plugin in plugins("store")] == ["b", "a"]
    assert (lookup("store", "b").make, lookup("store", "b").text) == (First, "First.")
    assert (lookup("store", "a").settings, lookup("store", "a").text) == (Mine, "")
    assert names("notifier") == ()


def test_class_when_loaded_again_then_it_replaces_itself_only() -> None:
    """A file that is read twice is no conflict; another class under the same name is a defect."""

    def load() -> type:
        @register("strategy", "s")
        class Again: ...

        return Again

    first, second = load(), load()
    assert lookup("strategy", "s").make is second is not first
    with pytest.raises(Defect, match="needs another name"):
        register("strategy", "s")(Mine)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("executor", "UNKNOWN_ALGO"), ("store", "UNKNOWN_STORE"), ("strategy", "UNKNOWN_STRATEGY")],
)
def test_name_when_unknown_then_it_is_refused_with_its_code(kind: contracts.Kind, code: str) -> None:
    """An unknown algorithm has a code of its own."""
    with pytest.raises(Refused) as caught:
        lookup(kind, "x")
    assert (caught.value.code, caught.value.text) == (code, f"no {kind} is called 'x'; there are none")


def test_setting_when_misspelt_then_only_what_may_be_given_is_proposed() -> None:
    """A private one would be refused once it is spelt right."""
    with pytest.raises(Refused, match=r"no setting 'insit'; known are tries"):
        read_settings(Half, {"insit": "1"}, "x")


def test_suggestion_when_something_is_near_then_it_is_named() -> None:
    """A typing mistake gets a did-you-mean, anything else the list."""
    assert suggest("fsat", ["fast", "slow"]) == "; did you mean 'fast'?"
    assert suggest("zzz", ["fast", "slow"]) == "; known are fast, slow"
