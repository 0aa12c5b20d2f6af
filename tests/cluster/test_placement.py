"""Where collections belong: the same for every node, few moves, each replica elsewhere."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.cluster.placement import placed, ranked

KEYS = st.text(alphabet="0123456789abcdef", min_size=1, max_size=16)
NODES = st.lists(st.text(alphabet="abcxyz-0123", min_size=1, max_size=6), unique=True, max_size=9)
REPLICAS = st.integers(1, 8)


@given(KEYS, REPLICAS, NODES, st.randoms(use_true_random=False))
def test_every_node_comes_to_the_same_answer(key, replicas, nodes, random) -> None:
    shuffled = list(nodes)
    random.shuffle(shuffled)
    assert placed(key, replicas, nodes) == placed(key, replicas, shuffled)


@given(KEYS, REPLICAS, NODES)
def test_replicas_are_on_different_nodes_as_many_as_there_are(key, replicas, nodes) -> None:
    found = placed(key, replicas, nodes)
    assert len(found) == len(set(found)) == min(replicas, len(nodes))
    assert set(found) <= set(nodes)


@given(KEYS, REPLICAS, NODES)
def test_a_node_that_comes_takes_places_and_moves_nothing_between_others(
    key, replicas, nodes
) -> None:
    before, after = placed(key, replicas, nodes), placed(key, replicas, [*nodes, "new"])
    assert [node for node in after if node != "new"] == before[: len(after) - ("new" in after)]


@given(KEYS, REPLICAS, NODES.filter(bool))
def test_a_node_that_goes_leaves_only_its_own_place_free(key, replicas, nodes) -> None:
    before = placed(key, replicas, nodes)
    gone = nodes[0]
    after = placed(key, replicas, nodes[1:])
    stayed = [node for node in before if node != gone]
    assert after[: len(stayed)] == stayed


@given(KEYS, REPLICAS, NODES.filter(bool))
def test_whoever_was_asked_to_own_it_stands_in_front_while_it_is_there(
    key, replicas, nodes
) -> None:
    found = placed(key, replicas, nodes, first=nodes[-1])
    assert found[0] == nodes[-1]
    assert len(set(found)) == len(found) == min(replicas, len(nodes))
    assert placed(key, replicas, nodes, first="gone") == placed(key, replicas, nodes)


def test_collections_spread_evenly() -> None:
    owners = Counter(ranked(f"{number:016x}", ["a", "b", "c", "d"])[0] for number in range(4000))
    assert all(900 < count < 1100 for count in owners.values()), owners
