"""The sections of the report: which frames become which figures, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import polars as pl

from ops.report import figures_heat, figures_ieds, figures_losses, figures_quality, quality, tables
from ops.report.figures_investigation import investigated
from ops.report.figures_moved import moved
from ops.report.figures_network import NetworkFigures
from ops.report.ieds import injected_ieds
from ops.report.investigation import MOST_CASES, cases
from ops.report.material import Material
from ops.report.moved import means, moves_of, pairs
from ops.report.page import Panel, Section, View, heading, paragraph
from ops.report.style import color_limit, count, energy, floats
from ops.report.switching import Switching, switching_found
from ops.report.topology import SWITCHES, Grid
from ops.report.totals import LEVELS, Span, together, topmost

_MOST_ELEMENTS = 40  # a list to choose from that is longer is not read, and each picture takes place in the file
_MOST_SUBSTATIONS = 60
_MOST_NAMED = 12
_MOST_DEVICES = 40
_CHANGES = {
    "Meters": ("METER_TRANSFORMER_CHANGED", "METER_PHASE_CHANGED", "RECORD_MISMATCH"),
    "Switching": ("SWITCH_OPERATED", "DE_ENERGISED", "RE_ENERGISED"),
}


def sections_of(of: Material) -> Iterator[Section]:
    """The sections in their order."""
    if of.findings is not None:
        lead = "What was put into the simulated grid, and what of it came out."
        yield Section("findings", "Injected and found", lead, [tables.of_findings(of.findings)])
    if of.span is None:
        text = "There are no losses in these results: perhaps no element of the network has a measuring device."
        yield Section("losses", "Losses", "Energy in less energy out, of each measured element.", [_empty(text)])
    else:
        yield _losses(of, of.span)
        yield _worst(of)
        yield _investigated(of, of.span)
        yield _over_time(of, of.span)
    if of.grid is not None:
        yield _network(of, of.grid)
    if of.results.changes is not None:
        yield _changes(of, of.results.changes)
    yield _suspects(of)
    if of.results.anomalies is not None:
        yield _ieds(of, of.results.anomalies)
    yield _completeness(of, of.span)
    yield _restated(of, of.span)
    if of.truth.events.height:
        yield _injected(of)


def _losses(of: Material, span: Span) -> Section:
    shown = min(of.areas.height, figures_heat.MOST_AREAS)
    body: list[Panel | str] = []
    if shown:
        views = [
            View("Percent", figures_heat.loss_percent(of.area_steps, of.areas, span)),
            View("Energy", figures_heat.loss_energy(of.area_steps, of.areas, span)),
        ]
        body.append(Panel("losses", views, f"Loss of each area in each {span.step_name}."))
    else:
        body.append(_empty("No transformer has a result of its own."))
    if of.areas.height > shown:
        body.append(paragraph(f"Of {count(of.areas.height)} areas the {shown} with the greatest losses are shown."))
    lead = (
        f"Each row is a transformer area, the one with the greatest loss on top, each column {_a(span.step_name)}: "
        "the browner, the more is lost; blue is more taken than delivered, as wrong data, records or clocks have it."
    )
    return Section("losses", "Losses per area", lead, body)


def _worst(of: Material) -> Section:
    areas = of.areas
    lead = "Bars that end well beyond their expected part, whiskers included, are where it pays to look first."
    if areas.is_empty():
        return Section("worst", "Worst areas", lead, [_empty("No transformer has a result of its own.")])
    views = [View("By loss", figures_losses.worst_areas(areas, "loss_kwh"))]
    if areas["unaccounted_kwh"].is_not_null().any():
        views.insert(0, View("By what is not accounted for", figures_losses.worst_areas(areas, "unaccounted_kwh")))
    body: list[Panel | str] = [Panel("worst", views, "Losses of areas.")]
    if areas.height > figures_losses.MOST_BARS:
        body.append(paragraph(f"The {figures_losses.MOST_BARS} worst of {count(areas.height)} areas."))
    if areas["expected_kwh"].is_null().all():
        body.append(paragraph("The results hold no technical loss, so the bars are the whole loss."))
    elif areas["simulated"].any():
        text = "The results hold no technical loss; what is expected here is what the simulated grid lost in its lines."
        body.append(paragraph(text))
    return Section("worst", "Worst areas", lead, body)


def _investigated(of: Material, span: Span) -> Section:
    lead = (
        "Above, what an area loses, with its 95 % interval, what its lines are expected to lose, and alarms; in the "
        "middle what that does not account for, and how much of it is missing at whom; below what those have "
        "registered: who is right will show a fall, a standstill, or the very profile of what is missing."
    )
    found = cases(of, span)
    if not found:
        return Section("area", "Into an area", lead, [_empty("No transformer has a result of its own.")])
    views = [View(case.element, investigated(case, span)) for case in found]
    body: list[Panel | str] = [Panel("area", views, "One area: loss, remainder, suspects' profiles.")]
    if len(views) == MOST_CASES:
        body.append(paragraph(f"The {MOST_CASES} areas with most that is missing, or alarms."))
    return Section("area", "Into an area", lead, body)


def _over_time(of: Material, span: Span) -> Section:
    top = topmost(of.totals).get_column("element_id").to_list()
    whole = of.steps.filter(pl.col("element_id").is_in(top))
    title = top[0] if len(top) == 1 else f"all {len(top)} together"
    views = [View(title, figures_losses.over_time(together(whole, ["step"]), span))]
    order = {kind: place for place, kind in enumerate(LEVELS)}
    parts = of.totals.filter(
        ~pl.col("element_id").is_in(of.areas.get_column("element_id").to_list())
        & (~pl.col("element_id").is_in(top) if len(top) == 1 else True)
    ).sort(pl.col("element_kind").replace_strict(order, default=len(order)), -pl.col("energy_in_kwh"), "element_id")
    for name, kind in parts.select("element_id", "element_kind").head(_MOST_ELEMENTS).iter_rows():
        rows = of.steps.filter(pl.col("element_id") == name)
        views.append(View(f"{name} ({kind})", figures_losses.over_time(rows, span)))
    note = paragraph("Where the interval leaves the picture it is wider still.")
    body: list[Panel | str] = [Panel("time", views, "Loss and energy over time."), note]
    if parts.height > _MOST_ELEMENTS:
        body.append(paragraph(f"Of {count(parts.height)} elements above the areas {_MOST_ELEMENTS} can be chosen."))
    lead = (
        f"Loss in each {span.step_name} with its 95 % interval, above the energy that went in: losses that follow the "
        "load are the grid's own, a level that does not is something else."
    )
    return Section("time", "Over time", lead, body)


def _network(of: Material, grid: Grid) -> Section:
    rates = of.areas.get_column("loss_percent")
    switching = _switching(of, grid)
    drawn = NetworkFigures(grid, of.totals, color_limit(floats(rates), figures_heat.LEAST_PERCENT), switching)
    substations = drawn.substations
    views = [View(name or "Feeders", *drawn.one_line(name)) for name in substations[:_MOST_SUBSTATIONS]]
    body: list[Panel | str] = []
    if of.totals.get_column("element_id").is_in(list(grid.elements)).any():
        views.append(View("All as nested boxes" if views else "Boxes", drawn.hierarchy()))
    if views:
        body.append(Panel("network", views, "The network, coloured by its losses."))
    else:
        body.append(_empty("The network has no feeders, and none of the elements that the results are of."))
    if others := _resupplied(of):
        body.append(
            paragraph(
                f"Supplied otherwise than recorded for some time, so that their losses by the record are not real: "
                f"{', '.join(others[:_MOST_NAMED])}{' and others' if len(others) > _MOST_NAMED else ''}."
            )
        )
    if len(substations) > _MOST_SUBSTATIONS:
        body.append(paragraph(f"The {_MOST_SUBSTATIONS} with the greatest losses of {len(substations)} substations."))
    lead = "Boxes lie within what supplies them; they are as large as they have customers, and as brown as they lose."
    if substations:
        lead = (
            "Each lane is a feeder from its busbar to its open end, its stations in the order in which current reaches "
            "them, not to scale: brown stations lose much, hollow red squares are where feeders meet and are open."
        )
        if switching is not None:
            lead += " The slider goes through what was switched."
    return Section("network", "Network", lead, body)


def _switching(of: Material, grid: Grid) -> Switching | None:
    """How switches were operated: by what was found, or where nothing looked for it, by what was simulated."""
    if of.results.changes is not None and of.span is not None:
        switches = {name: one.normal_open for name, one in grid.elements.items() if one.kind in SWITCHES}
        return switching_found(of.results.changes, switches, of.span.start)
    return Switching(of.truth.switches, of.truth.supply) if of.truth.switches.height else None


def _changes(of: Material, changes: pl.DataFrame) -> Section:
    lead = "What is not, or no longer, where the record has it: meters at other transformers and phases, and switching."
    if changes.is_empty():
        return Section("changes", "Topology", lead, [_empty("Nothing has changed, and no record is contradicted.")])
    counts = changes.group_by("kind", "state").len().sort("len", "kind", descending=[True, False])
    said = ", ".join(f"{kind} {number:,} {state.lower()}" for kind, state, number in counts.iter_rows())
    body: list[Panel | str] = [paragraph(f"{count(changes.height)} changes: {said}.")]
    between = [] if of.span is None else pairs(of, of.span)
    if of.span is not None and between:
        views = [View(f"{pair.previous} to {pair.current}", moved(pair, of.span)) for pair in between]
        body.append(heading("Meters that moved, and the losses of both areas"))
        body.append(Panel("moved", views, "Losses of two areas as they are, and without the move."))
        body.append(tables.of_moved([(pair, means(pair)) for pair in between], of.span.step_name))
    elif moves_of(changes).height:
        body.append(paragraph("The losses of areas between which meters moved need the network, and the losses."))
    for title, kinds in _CHANGES.items():
        some = changes.filter(pl.col("kind").is_in(kinds))
        if some.height:
            body += [heading(title), tables.of_changes(some)]
        if some.height > tables.MOST_ROWS:
            body.append(paragraph(f"The last {tables.MOST_ROWS} of {count(some.height)}."))
    return Section("changes", "Topology", lead, body)


def _resupplied(of: Material) -> list[str]:
    """The feeders that have supplied others than they normally do, or fewer."""
    supply = of.truth.supply.drop_nulls("fed_by").sort("time", maintain_order=True)
    first = pl.col("fed_by").first().over("element_id")
    moved = supply.with_columns(first.alias("normally")).filter(pl.col("fed_by") != pl.col("normally"))
    return sorted({*moved["fed_by"], *moved["normally"]})


def _suspects(of: Material) -> Section:
    named = quality.suspects(of.results.losses)
    lead = "Meters that probably do not register all, the surest first; a score of 1 is as sure as it gets."
    if named.is_empty():
        return Section("suspects", "Suspects", lead, [_empty("No suspects named.")])
    areas = dict(of.truth.meters.select("meter_id", "transformer_id").iter_rows())
    body = [tables.of_suspects(named, areas, of.truth.events)]
    if named.height > tables.MOST_ROWS:
        body.append(paragraph(f"The first {tables.MOST_ROWS} of {count(named.height)} meters."))
    return Section("suspects", "Suspects", lead, body)


def _completeness(of: Material, span: Span | None) -> Section:
    letters = of.results.letters
    lead = "What was not measured is estimated, so darker cells rest on less; below, what came too late or was refused."
    body: list[Panel | str] = []
    if span is not None and of.areas.height:
        shown = figures_heat.completeness(of.area_steps, of.areas, span)
        body.append(Panel("completeness", [View("Map", shown)], "Share measured of each area over time."))
        if of.areas.height > figures_heat.MOST_AREAS:
            body.append(paragraph(f"The {figures_heat.MOST_AREAS} least complete of {count(of.areas.height)} areas."))
    if span is not None:
        body.append(heading("State of the results"))
        bars = figures_quality.status_bars(quality.status_counts(of.results.losses))
        body.append(Panel("status", [View("Bars", bars)], "How many results are complete."))
    body.append(heading("Late and refused"))
    if letters.is_empty():
        body.append(_empty("No message was refused, and none came too late."))
        return Section("completeness", "Completeness", lead, body)
    if span is not None:
        steps = quality.letters_per_step(letters, span)
        timed = steps.filter(pl.col("step").is_not_null())
        if timed.height:
            bars = figures_quality.letters_over_time(timed, span)
            body.append(Panel("letters", [View("Bars", bars)], "Late and refused messages over time."))
        untimed = int(steps.filter(pl.col("step").is_null())["messages"].sum())
        if untimed:
            text = f"{count(untimed)} more have no time, or none within the period."
            body.append(paragraph(text))
    body.append(tables.of_letters(quality.letter_classes(letters)))
    return Section("completeness", "Completeness", lead, body)


def _restated(of: Material, span: Span | None) -> Section:
    restated = of.results.restated
    lead = "Readings that came after a result was stated have it stated again, under a higher revision."
    if restated.is_empty() or span is None:
        text = (
            "These results hold one revision of each; where an earlier one was written, a later one has replaced it in "
            "the same file."
        )
        return Section("restated", "Restatements", lead, [_empty(text)])
    moved = (restated["last_kwh"] - restated["first_kwh"]).abs()
    text = (
        f"{count(restated.height)} results are there in several revisions; from first to last their losses moved by "
        f"{energy(float(moved.sum()))} in all, one by up to {energy(float(moved.max() or 0.0))}."  # type: ignore[arg-type]
    )
    bars = figures_quality.restated_over_time(quality.restated_per_step(restated, span), span)
    return Section("restated", "Restatements", lead, [paragraph(text), Panel("restated", [View("Bars", bars)], text)])


def _ieds(of: Material, anomalies: pl.DataFrame) -> Section:
    injected = injected_ieds(of.truth.events)
    lead = (
        "Each row is a device, or a substation whose devices failed together; colours say what is wrong, and the size "
        "of the dot that begins it how grave it is."
    )
    if of.truth.events.height:
        lead += " Below, paler, is what was injected."
    if anomalies.is_empty() and injected.is_empty():
        return Section("ieds", "IEDs", lead, [_empty("No anomalies.")])
    names = anomalies.group_by("ied_id").agg(pl.len().alias("n")).sort("n", "ied_id", descending=[True, False])
    kept = names.head(_MOST_DEVICES)["ied_id"].implode()
    shown = anomalies.filter(pl.col("ied_id").is_in(kept))
    if names.height > _MOST_DEVICES:
        injected = injected.filter(pl.col("element_id").is_in(kept))
    body: list[Panel | str] = [Panel("ieds", [View("Time", figures_ieds.timeline(shown, injected))], "IED anomalies.")]
    if names.height > _MOST_DEVICES:
        body.append(paragraph(f"The {_MOST_DEVICES} of {count(names.height)} devices with most anomalies."))
    counts = anomalies.group_by("kind").len().sort("len", "kind", descending=[True, False])
    said = ", ".join(f"{kind} {number:,}" for kind, number in counts.iter_rows())
    return Section("ieds", "IEDs", lead, [*body, paragraph(f"{count(anomalies.height)} anomalies: {said}.")])


def _injected(of: Material) -> Section:
    lead = "What went wrong in the simulated grid, or was done to it: a dot where it begins, a bar as long as it lasts."
    events = of.truth.events
    plot = Panel("injected", [View("Time", figures_quality.events_over_time(events, of.span))], "Injected events.")
    return Section("injected", "Injected", lead, [plot, tables.of_events(events)])


def _a(noun: str) -> str:
    return f"an {noun}" if noun == "hour" else f"a {noun}"


def _empty(text: str) -> str:
    return f'<p class="empty">{escape(text)}</p>'
