"""The page: sections of text, tables and figures as one HTML file that asks nothing of any network.

Figures travel as JSON beside the page's text and are drawn by Plotly, which is in the file once. A content security
policy lets nothing else run, and nothing be fetched: not even what somebody has written into an identifier.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs


@dataclass(frozen=True)
class View:
    """One of the pictures that a panel can show.

    Attributes:
        name: what chooses it, as text.
        figure: the picture.
        width: pixels that it needs at least.
    """

    name: str
    figure: go.Figure
    width: int = 0


@dataclass(frozen=True)
class Panel:
    """A place for a picture; where it has several views the reader chooses.

    Attributes:
        name: a short name, for the page's own use.
        views: the first is shown at first.
        describes: what is to be seen, for those who do not see it.
    """

    name: str
    views: Sequence[View]
    describes: str


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: its anchor.
        title: its heading, as text; also in the navigation.
        lead: one sentence that says how to read it, as text.
        body: panels, and HTML.
    """

    name: str
    title: str
    lead: str
    body: Sequence[Panel | str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Tile:
    """A headline figure, as text.

    Attributes:
        name: of what.
        value: the figure.
        more: what is to be said of it.
    """

    name: str
    value: str
    more: str = ""


def paragraph(text: str, kind: str = "note") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>'


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def render(title: str, period: str, summary: str, tiles: Sequence[Tile], sections: Sequence[Section]) -> str:
    """The page.

    Args:
        title: as text, like all that follows.
        period: what the results cover.
        summary: a sentence or two that say what has been found.
        tiles: the headline figures.
        sections: the sections.
    """
    plotly, script = get_plotlyjs(), _resource("page.js")
    return Template(_resource("page.html")).substitute(
        title=escape(title),
        policy=_policy(plotly, script),
        css=_resource("page.css"),
        period=escape(period),
        summary=escape(summary),
        tiles="".join(_tile(tile) for tile in tiles),
        nav="".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in sections),
        sections="".join(_section(section) for section in sections),
        plotly=plotly,
        script=script,
    )


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


@cache
def _resource(name: str) -> str:
    return files("ops.report").joinpath(name).read_text(encoding="utf-8")


def _tile(tile: Tile) -> str:
    more = f"<small>{escape(tile.more)}</small>" if tile.more else ""
    return f'<div class="tile"><span>{escape(tile.name)}</span><b>{escape(tile.value)}</b>{more}</div>'


def _section(section: Section) -> str:
    lead = paragraph(section.lead, "lead")
    body = "".join(_panel(part) if isinstance(part, Panel) else part for part in section.body)
    return f'<section id="{section.name}"><h2>{escape(section.title)}</h2>{lead}{body}</section>'


def _panel(panel: Panel) -> str:
    choice = ""
    names = [escape(view.name) for view in panel.views]
    if len(names) > 4:
        options = "".join(f'<option value="{place}">{name}</option>' for place, name in enumerate(names))
        choice = f'<label class="choice">Show <select>{options}</select></label>'
    elif len(names) > 1:
        buttons = "".join(
            f'<button type="button" value="{place}" aria-pressed="{str(not place).lower()}">{name}</button>'
            for place, name in enumerate(names)
        )
        choice = f'<div class="choice" role="group">{buttons}</div>'
    data = "".join(
        f'<script type="application/json" data-width="{view.width}">{_json(view.figure)}</script>'
        for view in panel.views
    )
    height = panel.views[0].figure.layout.height
    return (
        f'<div class="panel" id="panel-{panel.name}">{choice}<div class="scroll">'
        f'<div class="plot" style="height:{height}px" role="img" aria-label="{escape(panel.describes)}"></div>'
        f"</div>{data}</div>"
    )


def _json(figure: go.Figure) -> str:
    """A figure as JSON that no text in it can make the browser leave."""
    text: str = figure.to_json(validate=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
