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

    Figures drawn from equal input become equal files.

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

    Figures drawn from equal input give equal text. Its ids begin with a digest of the
    figure, so that those of others are different; two equal ones on one page need a
    `figure.set_gid(...)` each. Colours are CSS variables `--plot-ink`, `--plot-paper`
    and so on, as in print unless the page sets them: `DARK` for a dark one.

    Args:
        figure: of this package.

    Returns:
        XML without a prologue.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", dpi=200, metadata={"Date": None})
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
    """Prefix ids and what refers to them; replace colours by variables.

    Names lose their namespaces: in a page an `<svg>` needs none.
    """
    element.tag = element.tag.rpartition("}")[2]
    for key, value in list(element.attrib.items()):
        name = key.rpartition("}")[2]
        if name == "id":
            value = prefix + value
        elif name == "href":
            value = re.sub("^#", f"#{prefix}", value)
        elif name in ("d", "x", "y"):
            value = _LONG.sub(_short, " ".join(value.split()))
        else:
            value = value.replace("url(#", f"url(#{prefix}")
            value = _COLORS.sub(_variable, value)
        del element.attrib[key]
        element.set(name, value)


_LONG = re.compile(r"\d+\.\d{3,}")


def _short(match: re.Match) -> str:
    """A hundredth of a point is nothing on paper, and half of the bytes."""
    return f"{float(match[0]):.2f}"


_COLORS = re.compile("|".join(style.VARIABLES.values()), re.IGNORECASE)
_NAMES = {color.lower(): name for name, color in style.VARIABLES.items()}


def _variable(match: re.Match) -> str:
    color = match[0].lower()
    return f"var(--plot-{_NAMES[color]}, {color})"
