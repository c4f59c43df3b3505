"""Pages of HTML that need nothing but themselves: style and pictures are inside, scripts are none.

Templates lie in ``templates/``. What is put into them is escaped, so that a scan may be called
``<script>``; the page itself forbids the browser to load anything.
"""

import base64
import io
import math
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from medseg.metrics.statistics import Interval
from medseg.report.panels import spoken

# Of a picture: some thirty of them make a page.
LARGEST_BYTES = 125_000

_QUALITIES = (82, 65, 45, 25, 10)
_DASH = "–"


class Picture(NamedTuple):
    """A picture inside a page.

    Attributes:
        data: The file's bytes.
        kind: ``jpeg`` or ``svg+xml``.
        width_px: What it takes on a screen at most, ``height_px`` in proportion.
        height_px: So that a browser leaves room for it before it is decoded.
        alt: What it shows, for whoever does not see it.
    """

    data: bytes
    kind: str
    width_px: int
    height_px: int
    alt: str

    @property
    def source(self) -> str:
        """The picture as a ``data:`` address."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


def chart(figure: Figure, alt: str) -> Picture:
    """Return a chart as SVG: sharp at any size, and its text in the reader's own font."""
    drawn = io.BytesIO()
    # Equal charts are equal bytes: neither the date nor random names are in them.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medseg"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    width_inch, height_inch = figure.get_size_inches()
    return Picture(
        drawn.getvalue(), "svg+xml", round(96 * width_inch), round(96 * height_inch), alt
    )


def photograph(figure: Figure, alt: str, *, dpi: int) -> Picture:
    """Return a figure that is mostly an image as JPEG, its colours at full resolution.

    It is packed more where it would take more than `LARGEST_BYTES`, as noise does.
    """
    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    pixels = Image.open(whole).convert("RGB")
    for quality in _QUALITIES:
        drawn = io.BytesIO()
        pixels.save(drawn, "jpeg", quality=quality, subsampling=0, optimize=True)
        if drawn.tell() <= LARGEST_BYTES:
            break
    return Picture(drawn.getvalue(), "jpeg", *pixels.size, alt)


def rendered(template: str, /, **parts: object) -> str:
    """Return a template of this package filled with `parts`."""
    return _environment().get_template(template).render(parts)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "spoken": spoken,
        "share": share,
        "between": between,
        "number": number,
        "counted": counted,
    }
    environment.globals["medseg_version"] = version("medseg")
    return environment


def number(value: float, digits: int = 1) -> str:
    """Return a number as it is read; a dash where there is none.

    >>> number(1234.56), number(-0.04), number(float("nan"))
    ('1234.6', '0.0', '–')
    """
    if math.isnan(value):
        return _DASH
    if math.isinf(value):
        return "∞"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def share(value: float) -> str:
    """Return a share in [0, 1] with three digits, as tables give it."""
    return number(value, 3)


def between(interval: Interval, digits: int) -> str:
    """Return the bounds of an interval in brackets; nothing where there are none."""
    if math.isnan(interval.low):
        return ""
    return f"({number(interval.low, digits)} to {number(interval.high, digits)})"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, thousands apart.

    >>> counted(1, "scan"), counted(12, "patient")
    ('1 scan', '12 patients')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}".replace(",", "\N{THIN SPACE}")
