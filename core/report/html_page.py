"""Report data -> one self-contained HTML file, and back. The same data give the same bytes, so a file can be checked.

Nothing in it asks the network: fonts, plotly.js and script are inside, and a Content-Security-Policy allows exactly these
scripts and styles, by their hashes, and nothing else. All text is escaped by jinja2; the data stand in a block that is
never run.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from core.metrics import METRICS
from core.metrics.verdict_rules import SAYS, VERDICT_NAMES
from core.report import report_sentences, slides
from core.report.assets import FONTS, PLOTLY, font
from core.runs import asked
from core.runs.asked import KIND_NAMES
from core.runs.voices import VOICE_NAMES
from core.util.errors import UserError
from core.util.paths import ASSETS

if TYPE_CHECKING:
    from jinja2 import Environment

EMPTY_STYLE = base64.b64encode(hashlib.sha256(b"").digest()).decode()
"""plotly.js adds an empty style element and fills it through the CSS object model"""
ISLAND = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
SEAL = re.compile(r'<meta name="forgetscope-data" content="([0-9a-f]{64})">')


def render(data: Mapping[str, Any]) -> str:
    """Return the report as HTML. Raises UserError for data that are no report's."""
    block = island(data)
    styles, scripts = style(), [PLOTLY.read_text(encoding="utf-8"), asset("slides.js") + asset("report.js")]
    policy = (
        f"default-src 'none'; script-src {' '.join(_source(script) for script in scripts)}; "
        f"style-src {_source(styles)} 'sha256-{EMPTY_STYLE}'; font-src data:; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    inside = {"style": _ours(styles), "scripts": [_ours(script) for script in scripts], "island": _ours(block)}
    return page("report.html", data, policy, seal_of(block), **inside)


def page(template: str, data: Mapping[str, Any], policy: str, seal: str, **more: Any) -> str:
    """Return one page about a run, by its template. Raises UserError for data that are no report's.

    policy: its Content-Security-Policy. seal: SHA-256 of the data. more: what the template asks for besides what they say;
    place: where a page of a site stands among the others.
    """
    with of_report():
        return (
            environment()
            .get_template(template)
            .render(
                data=data,
                short=report_sentences.short(data),
                leaks=report_sentences.leaks(data),
                changed=report_sentences.changed(data),
                voices=VOICE_NAMES,
                kinds=KIND_NAMES,
                slides=slides.content(data),
                picture=slides.drawing(data["picture"]),
                policy=policy,
                seal=seal,
                **({"place": None, "island": ""} | more),
            )
        )


@contextlib.contextmanager
def of_report() -> Iterator[None]:
    """Raise UserError for what goes wrong with data that are no report's."""
    from jinja2 import UndefinedError

    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, UndefinedError) as error:
        raise UserError(
            f"These are not the data of a report ({type(error).__name__}: {error}).", "Make the report again."
        ) from error


def slides_only(data: Mapping[str, Any]) -> str:
    """Return the six slides alone, as the page of the app shows them; every text in them is escaped."""
    return (
        environment()
        .get_template("slides.html")
        .render(slides=slides.content(data), picture=slides.drawing(data["picture"]), data=data)
    )


def island(data: Mapping[str, Any]) -> str:
    """Return the data as ASCII JSON in which no character means anything to HTML."""
    # Escaped for HTML although it is JSON: a text with </script> would end the block that it stands in.
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def seal_of(block: str) -> str:
    """Return the SHA-256 that stands for the data."""
    return hashlib.sha256(block.encode("utf-8", "surrogateescape")).hexdigest()


def style() -> str:
    """Return the style sheet, fonts inside."""
    faces = "".join(
        f'@font-face{{font-family:"{name}";font-weight:{FONTS[name][1]};'
        f"src:url(data:font/woff2;base64,{base64.b64encode(font(name).read_bytes()).decode()})}}\n"
        for name in FONTS
    )
    return faces + asset("slides.css") + asset("report.css")


@functools.cache
def environment() -> Environment:
    """Return jinja2 with autoescape on, for the report's own templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    jinja = Environment(
        loader=FileSystemLoader(ASSETS / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters["short"] = short_number
    jinja.globals |= {
        "verdict_names": VERDICT_NAMES,
        "says": SAYS,
        "marks": report_sentences.MARKS,
        "outcome_name": asked.outcome_name,
        "metric_names": {name: metric.title for name, metric in METRICS.items()},
    }
    return jinja


def short_number(value: float | None, digits: int = 1) -> str:
    """Write a number with so many decimals, a tiny one in powers of ten, a missing one as a dash."""
    if value is None:
        return "–"
    if value and abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}".replace("-", "−")


def asset(name: str) -> str:
    """Return the text of a file that draws reports."""
    return (ASSETS / "report" / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _ours(text: str) -> Any:
    """Mark a text of our own files, or escaped JSON, as what it is: nothing in it came from a model or a person
    unescaped.
    """
    return Markup(text)
