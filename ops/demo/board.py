"""The dashboard of the live demo: what has come in, what was found of it, drawn for a terminal."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
from rich import box
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.streaming.network import TRANSFORMER
from ops.report.totals import LEVELS
from sinks.metrics import OUTCOMES

_BLOCKS = "▁▂▃▄▅▆▇█"
_HISTORY = 96
_AREAS, _NEWS = 14, 12
_STATUS_COLOURS = {"COMPLETE": "green", "INCOMPLETE": "yellow", "PROVISIONAL": "cyan"}
_SHORT = {"duplicate": "twice", "dead_letter": "dead"}
_NARROW = 110  # columns
_STREAMS = 34
_TOP = LEVELS[:2]


@dataclass
class _Element:
    """The results of one element: window start to (revision, loss, energy in, completeness, status, alarm)."""

    kind: str
    windows: dict[datetime, tuple[int, float, float, float, str, str]] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        return sum(row[1] for row in self.windows.values())

    @property
    def energy(self) -> float:
        return sum(row[2] for row in self.windows.values())


class Board:
    """What is on the dashboard.

    Args:
        title: its title.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._elements: dict[str, _Element] = {}
        self._restated = 0
        self._news: deque[tuple[datetime, str, str]] = deque(maxlen=_NEWS)
        self.published: Counter[str] = Counter()
        self.readings: Mapping[str, int] = {}
        self._anomalies: set[str] = set()
        self.now: datetime | None = None
        self.stage = "starting"

    @property
    def results(self) -> int:
        """Identities that have a result."""
        return sum(len(element.windows) for element in self._elements.values())

    def take_losses(self, frame: pl.DataFrame) -> None:
        """Take up rows of ``grid.line-loss.v1``; of an identity the highest revision is shown."""
        columns = ("element_id", "element_kind", "window_start", "revision", "loss_kwh", "energy_in_kwh")
        for element_id, kind, start, *rest in frame.select(*columns, "completeness", "status", "alarm").iter_rows():
            element = self._elements.setdefault(element_id, _Element(kind))
            known = element.windows.get(start)
            if known is not None and known[0] < rest[0]:
                self._restated += 1
            if known is None or known[0] <= rest[0]:
                element.windows[start] = tuple(rest)
                before, alarm = "NONE" if known is None else known[5], str(rest[5])
                if alarm not in {"NONE", before}:
                    share = _percent(rest[1], rest[2])
                    self.tell(
                        start, f"found: {alarm.lower().replace('_', ' ')} of {share:.1f} % at {element_id}", "yellow"
                    )

    def take_anomalies(self, frame: pl.DataFrame) -> None:
        """Tell of rows of ``grid.ied-anomaly.v1``: each anomaly once, when it is raised."""
        columns = ("anomaly_id", "detected_time", "severity", "kind", "ied_id")
        for anomaly_id, time, severity, kind, ied in frame.sort("detected_time").select(columns).iter_rows():
            if anomaly_id not in self._anomalies and severity != "INFO":
                self.tell(time, f"found: {kind.lower().replace('_', ' ')} at {ied}", "yellow")
            self._anomalies.add(anomaly_id)

    def tell(self, time: datetime, what: str, colour: str = "white") -> None:
        """Put a line under the news."""
        self._news.append((time, what, colour))

    def render(self, width: int = 130) -> RenderableType:
        """The whole dashboard, for a terminal of so many columns."""
        narrow = width < _NARROW
        layout = Layout()
        foot = Layout(self._foot(), ratio=1, minimum_size=5)
        layout.split_column(Layout(self._head(), size=3), Layout(name="middle", ratio=2, minimum_size=12), foot)
        areas = Layout(self._areas(narrow), ratio=3)
        layout["middle"].split_row(areas, Layout(self._numbers(narrow), ratio=2, minimum_size=_STREAMS))
        return layout

    def _head(self) -> Panel:
        now = "--" if self.now is None else f"{self.now.astimezone(UTC):%a %Y-%m-%d %H:%M:%S} UTC"
        return Panel(Text.assemble((now, "bold"), f"   {self.stage}"), title=self._title, box=box.ROUNDED)

    def _areas(self, narrow: bool) -> Panel:
        table = Table(box=None, expand=True, padding=(0, 1))
        columns = ("element", "loss kWh", "loss %", "last window %", "complete %", "status")
        kept = columns[:4] if narrow else columns
        for name in kept:
            shown = name.replace("last window", "now") if narrow else name
            least = 7 if name == "element" else None
            table.add_column(
                shown, justify="left" if name in {"element", "status"} else "right", no_wrap=True, min_width=least
            )
        top = [item for item in self._elements.items() if item[1].kind in _TOP]
        areas = [(name, e) for name, e in self._elements.items() if e.kind == TRANSFORMER]
        areas.sort(key=lambda item: -_percent(item[1].loss, item[1].energy))
        for name, element in [*sorted(top), *areas[:_AREAS]]:
            _, loss, energy, complete, status, alarm = element.windows[max(element.windows)]
            state = Text(status if alarm == "NONE" else alarm, "red" if alarm != "NONE" else _STATUS_COLOURS[status])
            look = "red" if alarm != "NONE" else "bold" if element.kind in _TOP else ""
            cells = (
                Text(name, look),
                f"{element.loss:,.1f}",
                f"{_percent(element.loss, element.energy):.2f}",
                f"{_percent(loss, energy):.2f}",
                f"{100 * complete:.0f}",
                state,
            )
            table.add_row(*cells[: len(kept)])
        return Panel(
            table, title="Line losses" if narrow else "Line losses: the whole, and the worst areas", box=box.ROUNDED
        )

    def _numbers(self, narrow: bool) -> Panel:
        lines: list[RenderableType] = []
        region = next((e for e in self._elements.values() if e.kind == _TOP[0]), None)
        if region is not None and not narrow:
            history = [region.windows[start] for start in sorted(region.windows)][-_HISTORY:]
            lines.append(Text("loss of the region, % by window", "dim"))
            lines.append(Text(sparkline([_percent(row[1], row[2]) for row in history], 36), "cyan"))
            lines.append(Text("energy in, kWh by window", "dim"))
            lines.append(Text(sparkline([row[2] for row in history], 36), "cyan"))
        table = Table(box=None, padding=(0, 1))
        table.add_column("messages in", no_wrap=True)
        table.add_column("", justify="right", no_wrap=True, min_width=9)
        table.add_row("results", f"{self.results:,}")
        table.add_row("restated", f"{self._restated:,}")
        for name in OUTCOMES:
            table.add_row(f"readings {_SHORT.get(name, name)}", f"{self.readings.get(name, 0):,}")
        for topic, count in sorted(self.published.items()):
            table.add_row(topic, f"{count:,}")
        return Panel(Group(*lines, table), title="Streams", box=box.ROUNDED)

    def _foot(self) -> Panel:
        latest = list(self._news)[::-1]
        rows = [Text(f"{time.astimezone(UTC):%a %H:%M:%S}  {what}", colour) for time, what, colour in latest]
        return Panel(Group(*rows), title="What happens in the grid (injected), and what is found", box=box.ROUNDED)


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def sparkline(values: list[float], width: int) -> str:
    """Values as a line of blocks, the last ``width`` of them.

    Example:
        >>> sparkline([0.0, 1.0, 2.0], 3)
        '▁▄█'
    """
    shown = values[-width:]
    if not shown:
        return ""
    low, high = min(0.0, *shown), max(*shown, 1e-9)
    return "".join(_BLOCKS[int((value - low) / (high - low) * (len(_BLOCKS) - 1) + 1e-9)] for value in shown)
