"""Figures to files and to pages."""

import hashlib
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from matplotlib.figure import Figure

from purejaxppo.reliability.plots import style

SUFFIXES = (".png", ".svg", ".pdf")

_SVG = "http://www.w3.org/2000/svg"


@style.styled
def save(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write the figure; the suffix of the path is its format.

    Equal figures become equal files.

    Args:
        figure: of this package.
        path: for example "learning_curve.png", or ".svg" or ".pdf" for print.
        dpi: dots per inch of a PNG.

    Raises:
        ValueError: the suffix is another one.
    """
    kind = Path(path).suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"Expected path to end in {', '.join(SUFFIXES)}, got {path}.")
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    figure.savefig(path, dpi=dpi, metadata=dates.get(kind))


@style.styled
def svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element to stand in a page among others.

    Equal figures give equal text. Its ids begin with a digest of the figure, so that
    those of others are different; two equal ones on one page need a
    `figure.set_gid(...)` each. Ink, paper and greys are CSS variables `--plot-ink`,
    `--plot-faint`, `--plot-runs`, `--plot-grid`, `--plot-band` and `--plot-paper`,
    which are as in print unless the page sets them, for instance in the dark.

    Args:
        figure: of this package.

    Returns:
        XML without a prologue.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    root = ET.fromstring(text)
    prefix = f"f{hashlib.sha256(text.encode()).hexdigest()[:10]}-"
    _take_out(root)
    for element in root.iter():
        _rewrite(element, prefix)
    root.set("xmlns", _SVG)
    # What matplotlib says of every element of the page, said of this one.
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return ET.tostring(root, encoding="unicode")


def _take_out(root: ET.Element) -> None:
    """Remove what is about the file or about the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)


def _rewrite(element: ET.Element, prefix: str) -> None:
    """Prefix ids and what refers to them; replace neutral colours by variables.

    Names lose their namespaces: in a page an `<svg>` needs none.
    """
    element.tag = element.tag.rpartition("}")[2]
    for key, value in list(element.attrib.items()):
        name = key.rpartition("}")[2]
        if name == "id":
            value = prefix + value
        elif name == "href":
            value = value.replace("#", f"#{prefix}", 1)
        else:
            value = value.replace("url(#", f"url(#{prefix}")
            value = _NEUTRAL.sub(_variable, value)
        del element.attrib[key]
        element.set(name, value)


_NEUTRAL = re.compile("|".join(style.NEUTRALS.values()), re.IGNORECASE)
_VARIABLES = {color.lower(): name for name, color in style.NEUTRALS.items()}


def _variable(match: re.Match) -> str:
    color = match[0].lower()
    return f"var(--plot-{_VARIABLES[color]}, {color})"
