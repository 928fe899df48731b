# SPDX-License-Identifier: GPL-2.0-or-later
"""The interactive half of a page, laid out with Bokeh's models; the page's script fills them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from analysis.page.columns import packed

#: Pixels: the left and right margins that all panels share, and the panels' heights.
LEFT, RIGHT = 150, 70
STRIP, COUNTERS, PAGES, LANES = 90, 230, 230, 200
TABLE = 420
#: The parts of Bokeh that the page needs, each a script of its package.
COMPONENTS = ("bokeh", "bokeh-tables")
#: Title, column, pixels and format of the table of lives.
TEXT, NUMBER, MS, HEX = "text", "0", "0.000", "hex"
TABLE_COLUMNS = (
    ("life", "life", 60, NUMBER), ("found", "findings", 60, NUMBER),
    ("pfn", "head_pfn", 90, HEX), ("order", "order", 50, NUMBER), ("kind", "kind", 65, TEXT),
    ("born ms", "born", 95, MS), ("birth", "birth", 75, TEXT), ("lived ms", "lived", 95, MS),
    ("end", "death", 65, TEXT), ("changes", "changes", 70, NUMBER),
    ("records", "events", 70, NUMBER), ("tasks", "tasks", 50, NUMBER),
    ("reads", "reads", 60, NUMBER), ("raced", "raced_reads", 55, NUMBER),
    ("parent", "parent", 65, NUMBER),
)  # fmt: skip
#: Columns of the drawing's sources, which the page's script fills for the life that is drawn.
SOURCES = {
    "steps": ("ms", "entire", "pte"),
    "events": ("ms", "label", "task", "cpu", "function", "phase", "op", "level", "page", "nr",
               "entire", "pte", "entire_mapcount", "wrong", "lane", "marker", "size", "angle",
               "colour"),
    "windows": ("ms", "end", "lane", "colour", "task", "function", "fate", "raced"),
    "quads": ("left", "right", "low", "high", "last", "value", "colour"),
    "spans": ("left", "right", "bottom", "top", "colour", "alpha"),
    "marks": ("ms", "row", "name", "colour", "dash", "align", "offset"),
    "found": ("ms", "label", "rule", "counter", "page", "observed", "expected", "pmd_observed",
              "pmd_expected", "pte_observed", "pte_expected", "foot_observed", "foot_expected"),
}  # fmt: skip
EVENT_TIPS = [
    ("event", "@label"), ("at", "@ms{0.000000} ms"), ("task", "@task, cpu @cpu"),
    ("function", "@function@phase"), ("operation", "@op by @level, @nr pages from page @page"),
    ("after it", "@entire PMD, @pte PTE mappings"),
]  # fmt: skip


def available() -> bool:
    """Whether Bokeh is installed."""
    return find_spec("bokeh") is not None


def library() -> dict[str, str]:
    """Bokeh's own scripts, compressed, by their names."""
    from bokeh.util.paths import bokehjs_path

    folder = bokehjs_path() / "js"
    return {name: packed((folder / f"{name}.min.js").read_bytes()) for name in COMPONENTS}


def items() -> dict[str, Any]:
    """Bokeh's JSON of the drawing and of the table, by the id of the element for each."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item

    models = {"drawing": _drawing(), "life-table": _table()}
    return {name: json_item(model, ID(name)) for name, model in models.items()}


def _table() -> Any:
    from bokeh.models import CDSView, ColumnDataSource, IndexFilter, InlineStyleSheet
    from bokeh.models.widgets.tables import (
        DataTable,
        HTMLTemplateFormatter,
        NumberFormatter,
        StringFormatter,
        TableColumn,
    )

    formatters: dict[str, Any] = {
        TEXT: StringFormatter(),
        HEX: HTMLTemplateFormatter(template="0x<%= value.toString(16) %>"),
    }
    for form in (NUMBER, MS):
        formatters[form] = NumberFormatter(format=form, nan_format="-", text_align="right")
    columns = [
        TableColumn(title=title, field=field, width=width, formatter=formatters[form])
        for title, field, width, form in TABLE_COLUMNS
    ]
    source = ColumnDataSource({field: [] for _, field, _, _ in TABLE_COLUMNS}, name="lives")
    return DataTable(
        source=source, columns=columns, view=CDSView(filter=IndexFilter(indices=[])),
        name="table", height=TABLE, min_width=1000, sizing_mode="stretch_width",
        index_position=None, selectable=True, reorderable=False,
        stylesheets=[InlineStyleSheet(css=TABLE_STYLE)],
    )  # fmt: skip


#: The page's own colours reach into the table's shadow tree by their names.
TABLE_STYLE = """
:host { color: var(--ink); border: 1px solid var(--line); }
.slick-header-columns, .slick-header-column.ui-state-default
{ background: var(--panel) !important; color: var(--ink); font-weight: 600; }
.slick-row, .slick-row.odd, .slick-row.even { background: var(--ground) !important;
color: var(--ink); }
.slick-row.odd { background: var(--panel) !important; }
.slick-row:hover { background: var(--hover) !important; }
.slick-cell { border-color: transparent; cursor: pointer; }
.slick-cell.selected { background: var(--chosen) !important; }
"""


def _drawing() -> Any:
    from bokeh.layouts import gridplot
    from bokeh.models import ColumnDataSource, Range1d

    sources = {
        name: ColumnDataSource({column: [] for column in columns}, name=name)
        for name, columns in SOURCES.items()
    }
    shared = Range1d(start=0, end=1, name="time")
    figures = [
        _strip(sources, shared), _counters(sources, shared), _pages(sources, shared),
        _lanes(sources, shared),
    ]  # fmt: skip
    return gridplot(
        [[plot] for plot in figures], toolbar_location="above", sizing_mode="stretch_width",
        toolbar_options={"logo": None},
    )  # fmt: skip


def _figure(sources: dict[str, Any], shared: Any, height: int, **more: Any) -> Any:
    """A panel over the shared time, with what lies across all of them."""
    from bokeh.models import Range1d
    from bokeh.plotting import figure

    plot = figure(
        height=height, x_range=shared, min_border_left=LEFT, min_border_right=RIGHT,
        min_border_top=6, min_border_bottom=6, background_fill_color=None,
        border_fill_color=None, outline_line_color=None, sizing_mode="stretch_width",
        tools="xpan,xbox_zoom,xzoom_in,xzoom_out,xwheel_zoom,reset,save",
        active_drag="xbox_zoom", **more,
    )  # fmt: skip
    plot.extra_y_ranges["unit"] = Range1d(start=0, end=1)
    plot.segment(
        x0="ms", x1="ms", y0=0, y1=1, source=sources["marks"], line_color="colour",
        line_dash="dash", line_width=1.2, y_range_name="unit", level="underlay",
    )  # fmt: skip
    plot.xaxis.visible = False
    plot.ygrid.visible = False
    return plot


def _spans(sources: dict[str, Any], plot: Any) -> None:
    """What holds over some time, behind everything else."""
    plot.quad(
        left="left", right="right", bottom="bottom", top="top", source=sources["spans"],
        fill_color="colour", fill_alpha="alpha", line_color=None, y_range_name="unit",
        level="underlay",
    )  # fmt: skip


def _tips(plot: Any, renderers: list[Any], tips: list[tuple[str, str]]) -> None:
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(renderers=renderers, tooltips=tips, limit=3, visible=False))


def _strip(sources: dict[str, Any], shared: Any) -> Any:
    """The names of marks and ends above all panels."""
    plot = _figure(sources, shared, STRIP, y_range=(0, 4), name="strip")
    plot.yaxis.visible = plot.xgrid.visible = False
    plot.text(
        x="ms", y="row", text="name", source=sources["marks"], text_color="colour",
        text_font_size="12px", x_offset="offset", text_align="align", text_baseline="middle",
    )  # fmt: skip
    return plot


def _counters(sources: dict[str, Any], shared: Any) -> Any:
    """Mappings of the whole folio: by PMD to the left, by PTE to the right."""
    from bokeh.models import BasicTicker, LinearAxis, Range1d

    left = Range1d(start=0, end=1, name="pmd")
    plot = _figure(sources, shared, COUNTERS, y_axis_label="PMD mappings", y_range=left)
    _spans(sources, plot)
    plot.extra_y_ranges["pte"] = Range1d(start=0, end=1, name="pte")
    right = LinearAxis(y_range_name="pte", axis_label="PTE mappings")
    plot.add_layout(right, "right")
    for axis in (plot.yaxis[0], right):
        axis.ticker = BasicTicker(min_interval=1)
    plot.yaxis[0].tags, right.tags = ["pmd"], ["pte"]
    plot.step(
        x="ms", y="entire", source=sources["steps"], mode="after", line_width=2.5, tags=["pmd"]
    )
    plot.step(
        x="ms", y="pte", source=sources["steps"], mode="after", line_width=2, y_range_name="pte",
        tags=["pte"], line_dash="dashdot",
    )  # fmt: skip
    seen = plot.scatter(
        x="ms", y="entire_mapcount", source=sources["events"], size=5, fill_alpha=0.8,
        line_color=None, tags=["observed"],
    )  # fmt: skip
    wrong = plot.scatter(
        x="ms", y="wrong", source=sources["events"], marker="x", size=10, line_width=2,
        y_range_name="unit", tags=["wrong"],
    )  # fmt: skip
    _tips(plot, [seen, wrong], [*EVENT_TIPS, ("observed", "@entire_mapcount PMD mappings")])
    found = []
    for scale, name in (("default", "pmd"), ("pte", "pte"), ("unit", "foot")):
        for what, marker, size in (("expected", "circle", 13), ("observed", "x", 11)):
            found.append(plot.scatter(
                x="ms", y=f"{name}_{what}", source=sources["found"], marker=marker, size=size,
                fill_color=None, line_width=2.5, y_range_name=scale, tags=["wrong"],
            ))  # fmt: skip
    _tips(plot, found, [
        ("finding", "@label: @rule"), ("at", "@ms{0.000000} ms"),
        ("@counter", "@observed, expected @expected"), ("page", "@page"),
    ])  # fmt: skip
    return plot


def _pages(sources: dict[str, Any], shared: Any) -> Any:
    """Which page of the folio had how many PTE mappings."""
    from bokeh.models import Range1d

    pages = Range1d(start=0, end=512, name="pages")
    plot = _figure(sources, shared, PAGES, y_axis_label="page in the folio", y_range=pages)
    _spans(sources, plot)
    quads = plot.quad(
        left="left", right="right", bottom="low", top="high", source=sources["quads"],
        fill_color="colour", line_color=None,
    )  # fmt: skip
    _tips(plot, [quads], [
        ("pages", "@low to @last"), ("PTE mappings", "@value of each"),
        ("from", "@left{0.000000} ms"), ("to", "@right{0.000000} ms"),
    ])  # fmt: skip
    return plot


def _lanes(sources: dict[str, Any], shared: Any) -> Any:
    """What each task did."""
    from bokeh.models import FixedTicker, Range1d

    lanes = Range1d(start=1, end=0, name="lanes")
    plot = _figure(sources, shared, LANES, y_range=lanes, name="tasks")
    plot.yaxis[0].update(ticker=FixedTicker(ticks=[]), name="lane-names")
    _spans(sources, plot)
    plot.min_border_bottom = 60
    plot.xaxis.visible = True
    plot.xaxis.axis_label = "ms since the first record of the trace"
    events = plot.scatter(
        x="ms", y="lane", source=sources["events"], marker="marker", size="size", angle="angle",
        line_color="colour", fill_color="colour", line_width=1.6,
    )  # fmt: skip
    windows = plot.segment(
        x0="ms", x1="end", y0="lane", y1="lane", source=sources["windows"], line_width=7,
        line_color="colour",
    )  # fmt: skip
    _tips(plot, [events], EVENT_TIPS)
    _tips(plot, [windows], [
        ("reader", "@task, @function"), ("from", "@ms{0.000000} ms"), ("to", "@end{0.000000} ms"),
        ("the folio", "@fate"),
    ])  # fmt: skip
    return plot
