"""What a page is made of, before it is HTML, or a table of the terminal."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["number", "word"]


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        text: as it is read.
        key: what it is sorted by; a missing number is `None` and comes last.
        detail: below the text, and smaller: a number's interval for instance.
    """

    text: str
    key: float | str | None
    detail: str = ""


class Column(NamedTuple):
    """One column: its head, and what it holds; numbers stand to the right."""

    name: str
    holds: Kind = "number"


def word_columns(*names: str) -> list[Column]:
    """Columns of words."""
    return [Column(name, "word") for name in names]


class Table(NamedTuple):
    """A table.

    Attributes:
        key: its id.
        caption: above it.
        columns: their heads.
        rows: cells, as many as columns.
        definitions: what its numbers are, below it.
        notes: what the numbers of each row are, below the row; for a table that is not
            sorted.
        sortable: by a click on a column's head.
        folded: shown on demand.
    """

    key: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    definitions: Mapping[str, str] = MappingProxyType({})
    notes: Sequence[str] = ()
    sortable: bool = True
    folded: bool = False

    @property
    def kind(self) -> str:
        """Which part of the template it is for."""
        return "table"


class Figure(NamedTuple):
    """A figure: its id, an `<svg>`, what it shows, and how to read it."""

    key: str
    svg: str
    title: str
    caption: str

    @property
    def kind(self) -> str:
        """Which part of the template it is for."""
        return "figure"


class Definitions(NamedTuple):
    """Terms and what they mean."""

    terms: dict[str, str]

    @property
    def kind(self) -> str:
        """Which part of the template it is for."""
        return "definitions"


Block: TypeAlias = Table | Figure | Definitions


class Section(NamedTuple):
    """A part of a page with its title, listed in the contents."""

    key: str
    title: str
    blocks: list[Block]


class Caveat(NamedTuple):
    """A warning, and what it is about, if not everything."""

    text: str
    about: list[str]


class Page(NamedTuple):
    """A page.

    Attributes:
        title: of the window and the page.
        subtitle: what it is about, in one line.
        answers: the answer, in sentences.
        caveats: what limits it.
        sections: the rest.
        data: name of the file beside it that has all numbers.
        made: by what, and when.
    """

    title: str
    subtitle: str
    answers: list[str]
    caveats: list[Caveat]
    sections: list[Section]
    data: str
    made: str


def text(value: str) -> Cell:
    """A cell of words."""
    return Cell(value, value)
