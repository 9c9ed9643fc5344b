"""A grid as the command line has it: `FIELD=VALUE,VALUE,...` and ranges."""

from collections.abc import Sequence
from typing import Any

from purejaxppo.config.config import Config
from purejaxppo.config.fields import Leaf, leaves, parse
from purejaxppo.study.grids.grids import read_range

FIXED = {
    "env": "environments are a study each, and `purejaxppo compare` compares them",
    "seed": "--num-seeds and --seed say which seeds each setting has",
    "num_seeds": "--num-seeds is of all settings",
}
"""What is no field, but may be taken for one -> what to do instead."""


def parse_tables(
    grid: Sequence[str],
    zipped: Sequence[str],
    sample: Sequence[str],
    num_samples: int | None,
    sample_seed: int,
) -> dict[str, dict[str, Any]]:
    """What `grids.from_tables` takes, from options' texts.

    Raises:
      ValueError: as `parse_fields`; or there is a number of samples without fields, or
        the other way round.
    """
    given = {"grid": grid, "zip": zipped, "sample": sample}
    tables = {name: parse_fields(texts, name) for name, texts in given.items() if texts}
    if (num_samples is None) == ("sample" in tables):
        raise ValueError("Expected --sample and --num-samples together, got only one.")
    if num_samples is not None:
        tables["sample"] |= {"num_settings": num_samples, "seed": sample_seed}
    return tables


def parse_fields(texts: Sequence[str], option: str) -> dict[str, Any]:
    """Fields and their values, from an option's texts.

    >>> parse_fields(("gamma=0.9,0.99",), "sample")
    {'gamma': [0.9, 0.99]}

    Raises:
      ValueError: as `parse_values`, or a field is given twice.
    """
    fields: dict[str, Any] = {}
    for text in texts:
        name, values = parse_values(text, option)
        if name in fields:
            raise ValueError(
                f"Expected each field once in --{option}, got {name} twice."
            )
        fields[name] = values
    return fields


def parse_values(text: str, option: str) -> tuple[str, Any]:
    """A field and its values, or the text of a range.

    >>> parse_values("learning_rate=1e-4,3e-4", "grid")
    ('learning_rate', [0.0001, 0.0003])
    >>> parse_values("network.widths=64,64;128,128", "grid")
    ('network.widths', [(64, 64), (128, 128)])

    Raises:
      ValueError: it is not FIELD=VALUES, or no field that has several values, or a
        value is not of the field's type.
    """
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not name or not values.strip():
        raise ValueError(
            f"Expected --{option} to be FIELD=VALUE,VALUE,..., got {text!r}."
        )
    if name in FIXED:
        raise ValueError(f"Expected --{option} of a field, got {name}: {FIXED[name]}.")
    if values.strip().startswith(("[", "(")):
        raise ValueError(
            f"Expected the values of {name} without brackets, lists of them apart by "
            f"semicolons, as in {name}=1,2;3,4, got {values!r}."
        )
    if read_range(name, values) is not None:
        return name, values
    leaf = next((leaf for leaf in leaves(Config) if leaf.name == name), None)
    parts = [part.strip() for part in _split(leaf, values)]
    if leaf is None and not all(parts):
        raise ValueError(f"Expected a value of {name}, got {values!r}.")
    return name, [_value(leaf, part) for part in parts]


def _split(leaf: Leaf | None, values: str) -> list[str]:
    """The values' texts, apart by semicolons, or by commas where that is clear."""
    is_tuple = leaf is not None and leaf.metavar.endswith(",...")
    return values.split(";" if ";" in values or is_tuple else ",")


def _value(leaf: Leaf | None, text: str) -> Any:
    if leaf is not None:
        return parse(leaf, text)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if "," in text:  # A list of an environment's, apart from others by semicolons.
        return [_value(None, part.strip()) for part in text.split(",")]
    return {"true": True, "false": False}.get(text.lower(), text)
