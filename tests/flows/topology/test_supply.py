"""Who is fed from where, against a plain search over the whole grid."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.streaming.network import Version
from flows.topology.supply import BUSBAR, Effect, Supply

FEEDERS = ("F1", "F2", "F3")


def version(
    kind: str, container: str | None, one: str | None = None, two: str | None = None, **more: object
) -> Version:
    return Version(0, 1, kind, container, None, None, one, two, **more)  # type: ignore[arg-type]


def base() -> dict[str, Version]:
    """A substation with two transformers, two busbars and a coupler, and the heads of three feeders."""
    return {
        "S": version("Substation", None),
        "TR1": version("PowerTransformer", "S", "HV", "BB1"),
        "TR2": version("PowerTransformer", "S", "HV2", "BB2"),
        "coupler": version("Breaker", "S", "BB1", "BB2", normal_open=True),
        **{name: version("Feeder", "S") for name in FEEDERS},
        "F1-head": version("Breaker", "F1", "BB1", "n0"),
        "F2-head": version("Breaker", "F2", "BB2", "n1"),
        "F3-head": version("Breaker", "F3", "BB2", "n2"),
    }


def plain(valid: dict[str, Version], closed: dict[str, bool]) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """The feeders of each transformer, and who is looped: every node is looked at, every time."""
    along: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for element, one in valid.items():
        if one.terminal_1 is None or one.terminal_2 is None or element.startswith("T-"):
            continue
        if closed.get(element, not one.normal_open):
            along[one.terminal_1].append((one.terminal_2, element))
            along[one.terminal_2].append((one.terminal_1, element))
    infeed, open_ = {"HV", "HV2"}, ["HV", "HV2"]
    while open_:
        for node, element in along[open_.pop()]:
            if node not in infeed and valid[element].container == "S":
                infeed.add(node)
                open_.append(node)
    fed, looped = {}, set()
    for name, one in valid.items():
        if not name.startswith("T-"):
            continue
        start = str(one.terminal_1)
        part, open_, heads, elements = {start}, [start], [], set()
        while open_:
            for node, element in along[open_.pop()]:
                if node in infeed:
                    heads.append(element)
                    continue
                elements.add(element)
                if node not in part:
                    part.add(node)
                    open_.append(node)
        fed[name] = tuple(sorted({str(valid[head].container) for head in heads}))
        if len(heads) > 1 or (heads and len(elements) >= len(part)):
            looped.add(name)
    return fed, looped


@st.composite
def grids(draw: st.DrawFn) -> dict[str, Version]:
    valid, count = base(), draw(st.integers(3, 14))
    for number in range(draw(st.integers(count, 3 * count))):
        one, two = draw(st.integers(0, count)), draw(st.integers(0, count))
        if one != two:
            kind = draw(st.sampled_from(["ACLineSegment", "LoadBreakSwitch", "Breaker"]))
            opened = kind != "ACLineSegment" and draw(st.booleans())
            valid[f"e{number}"] = version(
                kind, draw(st.sampled_from(FEEDERS)), f"n{one}", f"n{two}", normal_open=opened
            )
    for number in range(count + 1):
        valid[f"T-{number}"] = version("PowerTransformer", "F1", f"n{number}", f"lv{number}")
        valid[f"U-{number}"] = version("UsagePoint", f"T-{number}")
    return valid


@settings(max_examples=150, deadline=None)
@given(valid=grids(), data=st.data())
def test_operations_give_what_a_search_of_the_whole_grid_gives(valid: dict[str, Version], data: st.DataObject) -> None:
    switches = sorted(name for name, one in valid.items() if one.kind in ("Breaker", "LoadBreakSwitch"))
    closed: dict[str, bool] = {}
    supply = Supply(valid, closed)
    before, looped = plain(valid, closed)
    assert (supply.by_transformer(), supply.looped()) == (before, looped)
    for switch in data.draw(st.lists(st.sampled_from(switches), max_size=30)):
        closed[switch] = data.draw(st.booleans())
        kept = supply.copy()
        effects = supply.operate(switch, closed=closed[switch])
        after, looped = plain(valid, closed)
        assert supply.by_transformer() == after
        assert supply.looped() == looped
        assert effects == [Effect(one, before[one], after[one]) for one in sorted(after) if before[one] != after[one]]
        assert kept.by_transformer() == before
        before = after
    assert Supply(valid, closed).by_transformer() == before


def test_what_hangs_at_the_busbar_is_fed_without_any_feeder() -> None:
    valid = base() | {"AUX": version("PowerTransformer", "S", "BB1"), "UA": version("UsagePoint", "AUX")}
    assert Supply(valid, {}).feeders("AUX") == (BUSBAR,)


def test_what_a_switch_cuts_off_and_what_a_tie_takes_over() -> None:
    valid = base() | {
        "line": version("ACLineSegment", "F1", "n0", "n3"),
        "switch": version("LoadBreakSwitch", "F1", "n3", "n4", normal_open=False),
        "tie": version("LoadBreakSwitch", "F1", "n4", "n1", normal_open=True),
        "T-1": version("PowerTransformer", "F1", "n4", "lv"),
        "U-1": version("UsagePoint", "T-1"),
    }
    supply = Supply(valid, {})
    assert supply.feeders("T-1") == ("F1",)
    assert supply.operate("switch", closed=False) == [Effect("T-1", ("F1",), ())]
    assert supply.operate("switch", closed=False) == []
    assert supply.operate("tie", closed=True) == [Effect("T-1", (), ("F2",))]
    assert supply.operate("switch", closed=True) == [Effect("T-1", ("F2",), ("F1", "F2"))]
    assert supply.looped() == {"T-1"}
    assert supply.operate("F1-head", closed=False) == [Effect("T-1", ("F1", "F2"), ("F2",))]
