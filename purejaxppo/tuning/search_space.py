"""Search spaces: what each field is drawn from, ours and Optuna's side by side."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from purejaxppo.config.config import Config
from purejaxppo.config.fields import UnknownField, flatten, leaves, replace
from purejaxppo.config.labels import shown
from purejaxppo.study.grids.grids import (
    Domain,
    LogUniform,
    Setting,
    Uniform,
    check_domain,
    domain_of,
    product,
)
from purejaxppo.study.grids.groups import ENV, make_variants

if TYPE_CHECKING:
    from optuna import Trial

Space: TypeAlias = Mapping[str, Domain]
"""Config's dotted name -> `LogUniform`, `Uniform`, or a sequence of values."""

USUAL: Space = MappingProxyType(
    {
        "learning_rate": LogUniform(1e-4, 3e-3),
        "ent_coef": LogUniform(1e-4, 5e-2),
        "gae_lambda": Uniform(0.8, 0.99),
        "clip_eps": Uniform(0.1, 0.4),
        "vf_coef": Uniform(0.25, 1.0),
        "max_grad_norm": LogUniform(0.2, 2.0),
        "normalize_reward": (False, True),
    }
)
"""The space where none is given. One static field: each of its values compiles."""

MOST_CHECKED = 1024
"""Combinations of a space that are checked before a search; beyond, each value is, and
the combinations of values that are listed."""


def make_space(config: Config, given: Mapping[str, Any] | None) -> dict[str, Domain]:
    """A search space, checked; the usual one if none is given.

    Of the usual one, fields that are off in the config are left out.

    Args:
      config: what the fields belong to.
      given: field -> domain, or the text of a range, "log(1e-5, 1e-2)".

    Raises:
      ValueError: it is empty, a field unknown or the environment's, a range empty, or
        a value or a combination of values not one that the config takes.
    """
    if given is None:
        now = flatten(config)
        given = {
            name: domain
            for name, domain in USUAL.items()
            if not isinstance(domain, Uniform | LogUniform) or now[name] is not None
        }
    if not given:
        raise ValueError("Expected at least one field to be tuned, got none.")
    space = {name: domain_of(name, domain) for name, domain in given.items()}
    for name, domain in space.items():
        _check_field(name)
        if isinstance(domain, Uniform | LogUniform):
            check_domain(name, domain)
            _check_no_count(name, domain)
        else:  # As Python's values, which storages give back as they are.
            space[name] = tuple(row[name] for row in product({name: domain}))
    extremes(config, space)
    return space


def extremes(config: Config, space: Space) -> list[Config]:
    """Configs at all combinations of a space's ends and values, where they are few.

    Raises:
      ValueError: one is no config; with the setting.
    """
    settings = list(_corners(space))
    return [variant.config for variant in make_variants(config, None, settings)]


def _check_field(name: str) -> None:
    if name.startswith(ENV):
        raise ValueError(
            f"Expected fields of the config to be tuned, got {name}, which is the "
            "environment's."
        )
    known = [leaf.name for leaf in leaves(Config)]
    heads = [f"{leaf.name}.kind" for leaf in leaves(Config) if leaf.techniques]
    if name not in (*known, *heads):
        raise UnknownField(name, known)


def _check_no_count(name: str, domain: Domain) -> None:
    """Refuse a range of whole numbers: its ends may be some, what is drawn is none."""
    if name in {leaf.name for leaf in leaves(Config) if leaf.kind in (int, int | None)}:
        raise ValueError(
            f"Expected {name}, a whole number, to be drawn from a few values, got "
            f"{_told(domain)}."
        )


def _corners(space: Space) -> Iterator[Setting]:
    """Settings of which each combination of ends and values is one, if they are few."""
    ends = {name: _ends(domain) for name, domain in space.items()}
    if math.prod(map(len, ends.values())) <= MOST_CHECKED:
        yield from _combined(ends)
        return
    for name, values in ends.items():
        yield from ({name: value} for value in values)
    listed = {
        name: values
        for name, values in ends.items()
        if not isinstance(space[name], Uniform | LogUniform)
    }
    if math.prod(map(len, listed.values())) <= MOST_CHECKED:
        yield from _combined(listed)


def _combined(values: Mapping[str, Sequence[Any]]) -> Iterator[Setting]:
    for row in itertools.product(*values.values()):
        yield dict(zip(values, row, strict=True))


def _ends(domain: Domain) -> Sequence[Any]:
    return tuple(domain)  # Of a range its two numbers, of a list its values.


def told(space: Space) -> dict[str, str]:
    """A space in words, for files and messages: field -> domain."""
    return {name: _told(domain) for name, domain in space.items()}


def _told(domain: Domain) -> str:
    if isinstance(domain, Uniform | LogUniform):
        kind = "log" if isinstance(domain, LogUniform) else "linear"
        return f"{kind}({domain.low:g},{domain.high:g})"
    return (";" if any(isinstance(v, tuple | list) for v in domain) else ",").join(
        ",".join(map(shown, v)) if isinstance(v, tuple | list) else shown(v)
        for v in domain
    )


def suggest(trial: "Trial", space: Space) -> Setting:
    """A setting as Optuna's sampler draws it; what it does not know goes by labels."""
    for name, domain in space.items():
        if isinstance(domain, Uniform | LogUniform):
            low, high = float(domain.low), float(domain.high)
            trial.suggest_float(name, low, high, log=isinstance(domain, LogUniform))
        else:
            trial.suggest_categorical(name, [_label(value) for value in domain])
    return setting_of(space, trial.params)


def setting_of(space: Space, params: Mapping[str, Any]) -> Setting:
    """Optuna's parameters of a trial as a setting."""
    return {
        name: params[name]
        if isinstance(domain, Uniform | LogUniform)
        else next(v for v in domain if _same(_label(v), params[name]))
        for name, domain in space.items()
    }


def params_of(space: Space, config: Config) -> dict[str, Any] | None:
    """A config as parameters of the space; None where the space does not hold it."""
    params = {}
    for name, domain in space.items():
        if isinstance(domain, Uniform | LogUniform):
            value = flatten(config).get(name)
            if value is None or not domain.low <= value <= domain.high:
                return None
            params[name] = value
            continue
        same = [v for v in domain if replace(config, {name: v}) == config]
        if not same:
            return None
        params[name] = _label(same[0])
    return params


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type: True is not 1."""
    return type(one) is type(other) and one == other


def _label(value: Any) -> Any:
    """A value as Optuna's storages keep it."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return value if plain else shown(value)
