"""Who heals a collection whose stream is not what was written, and who must not take it over."""

from __future__ import annotations

from collections.abc import Mapping

from omendb_ws.cluster.agenda import HEAL_SECONDS, READ_AGAIN_SECONDS, Act, Agenda, Held, Step
from omendb_ws.cluster.members import Collection, Member, View, Window
from omendb_ws.cluster.placement import ranked

KEY = "k"
NAMES = ("a", "b", "c")


def ready(version: int) -> Window:
    return Window(version, is_ready=True)


def broken(version: int) -> Window:
    return Window(version, is_ready=False, is_broken=True)


def view(
    windows: Mapping[str, Window], owner: str | None = None, *, is_asked: bool = False
) -> View:
    members = {name: Member(name, name, "", "1", 0.0, True) for name in NAMES}
    one = Collection(KEY, "default", "items", 3, None, owner, windows, is_asked)
    return View(members, {KEY: one}, frozenset(NAMES), True)


def later(agenda: Agenda, seen: View, held: Held, seconds: float) -> list[Step]:
    """What it does after so long in which nothing changed."""
    assert not agenda.steps(seen, {KEY: held}, 0.0)
    return agenda.steps(seen, {KEY: held}, seconds)


def test_the_one_that_has_most_heals_once_all_could_say_what_they_have() -> None:
    seen = view({"a": broken(5), "b": broken(9), "c": broken(7)})
    for name in NAMES:
        agenda = Agenda(name)
        assert not later(agenda, seen, Held.BROKEN, HEAL_SECONDS - 0.1)
        done = agenda.steps(seen, {KEY: Held.BROKEN}, HEAL_SECONDS)
        assert done == ([Step(Act.HEAL, KEY)] if name == "b" else [])


def test_of_several_that_have_as_much_one_heals() -> None:
    seen = view(dict.fromkeys(NAMES, broken(5)))
    healing = [name for name in NAMES if later(Agenda(name), seen, Held.BROKEN, HEAL_SECONDS)]
    assert healing == ranked(KEY, NAMES)[:1]


def test_nobody_who_has_less_takes_over_and_nothing_is_given_up() -> None:
    seen = view({"a": ready(5), "b": broken(9)})
    assert not later(Agenda("a"), seen, Held.FOLLOWING, 60.0)
    assert later(Agenda("b"), seen, Held.BROKEN, 60.0) == [Step(Act.HEAL, KEY)]


def test_who_has_as_much_and_can_go_on_does_and_the_other_reads_it_again() -> None:
    seen = view({"a": ready(9), "b": broken(9)})
    assert Agenda("a").steps(seen, {KEY: Held.FOLLOWING}, 0.0) == [Step(Act.TAKE_OVER, KEY)]
    assert not later(Agenda("b"), seen, Held.BROKEN, 60.0)
    seen = view({"a": ready(9), "b": broken(9)}, owner="a")
    agenda = Agenda("b")
    assert not later(agenda, seen, Held.BROKEN, READ_AGAIN_SECONDS - 0.1)
    done = agenda.steps(seen, {KEY: Held.BROKEN}, READ_AGAIN_SECONDS)
    assert done == [Step(Act.READ_AGAIN, KEY)]


def test_a_node_that_asks_first_heals_what_it_was_told_to() -> None:
    windows = {"a": broken(5)}
    assert not later(Agenda("a", heals=False), view(windows), Held.BROKEN, 60.0)
    asked = view(windows, is_asked=True)
    assert later(Agenda("a", heals=False), asked, Held.BROKEN, 60.0) == [Step(Act.HEAL, KEY)]


def test_who_has_nothing_heals_nothing() -> None:
    assert not later(Agenda("a"), view({"a": broken(0)}), Held.BROKEN, 60.0)
