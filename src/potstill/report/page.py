"""The report: one HTML file that needs nothing else, made from a run folder's files alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import write_text
from ..errors import MissingExtra
from ..texts import whole
from .numbers import DASH
from .runfiles import read_run

if TYPE_CHECKING:
    from markupsafe import Markup

_HERE = Path(__file__).parent


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    Reads `run.json`, `evaluation.json`, `metrics.jsonl`, `per_query.jsonl`, `recipe.yaml` and, when there is one,
    `documents.json`. What is missing is left out of the page, which says so.

    Raises:
        InputError: `run` is not a run folder.
        MissingExtra: jinja2 is not installed.

    """
    out = Path(run) / "report.html"
    write_text(out, render_report(run))
    return out


def render_report(run: Path) -> str:
    """Give the report of a run folder as HTML text; see `write_report`."""
    files = read_run(Path(run))
    try:
        import jinja2
    except ImportError:
        raise MissingExtra("jinja2", "train") from None
    from .view import page_view

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["keep"] = keep
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    page = environment.get_template("report.html.jinja").render(style=style, **page_view(files))
    return whole(page)


def keep(text: str) -> Markup:
    """Keep short words with a hyphen or a dash (a model's name, an interval) from being broken over two lines."""
    from markupsafe import Markup

    return Markup(" ").join(
        Markup('<span class="keep">{}</span>').format(word) if {"-", DASH} & set(word) and len(word) <= 28 else word
        for word in text.split(" ")
    )
