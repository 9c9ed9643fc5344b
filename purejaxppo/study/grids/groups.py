"""Groups: the runs of a study that one program trains, and how it tells them apart."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxppo.algorithm.algorithm import PPO
from purejaxppo.config.config import Config
from purejaxppo.config.fields import OFF, UnknownField, flatten, is_off, leaves, replace
from purejaxppo.config.labels import label
from purejaxppo.study.grids import env_fields
from purejaxppo.study.grids.grids import Setting

ENV = "env."
"""What the name of a field that is the environment's begins with."""


_INTS = {leaf.name for leaf in leaves(Config) if leaf.kind in (int, int | None)}


class Variant(NamedTuple):
    """A setting in full."""

    config: Config
    env_params: Any


class Group(NamedTuple):
    """Runs that differ in traced numbers only.

    Attributes:
      runs: `[G]`, their numbers in the study.
      config: that of the first run.
      env_params: those of the first run.
      values: what differs, `[G]` or `[G, ...]` each: a config's float by its dotted
        name, a leaf of the environment's parameters by `env.` and its path.
      setting: what the grid gives all of them alike, by field.
    """

    runs: np.ndarray
    config: Config
    env_params: Any
    values: dict[str, np.ndarray]
    setting: Setting

    @property
    def name(self) -> str:
        """What sets it apart from other groups; empty if it is the only one."""
        return label(self.setting)


def make_variants(
    config: Config, env_params: Any, settings: Sequence[Mapping[str, Any]]
) -> list[Variant]:
    """Every setting in full, checked as a config is when it is made.

    Raises:
      ValueError: a field does not exist (with the nearest names), or a value is out of
        range; with the setting.
    """
    try:
        configs = make_configs(config, settings)
    except UnknownField as error:
        raise knowing(error, env_params) from None
    return in_full(configs, env_params, settings)


def make_configs(config: Config, settings: Sequence[Mapping[str, Any]]) -> list[Config]:
    """The config of every setting, whatever it has of the environment's fields.

    Raises:
      ValueError: as `make_variants`, which knows the environment's names, too.
    """
    return [_told(setting, configured, config, setting) for setting in settings]


def in_full(
    configs: Sequence[Config], env_params: Any, settings: Sequence[Mapping[str, Any]]
) -> list[Variant]:
    """Every setting in full, given their configs.

    Raises:
      ValueError: as `make_variants`, of the environment's fields.
    """
    owns = (
        {k.removeprefix(ENV): v for k, v in setting.items() if k.startswith(ENV)}
        for setting in settings
    )
    return [
        Variant(config, _told(setting, env_fields.replace, env_params, own))
        for config, setting, own in zip(configs, settings, owns, strict=True)
    ]


def knowing(error: UnknownField, env_params: Any) -> UnknownField:
    """The same error, which may name a field of the environment as the nearest."""
    known = [f"{ENV}{name}" for name in env_fields.flatten(env_params)]
    return UnknownField(error.name, [*error.known, *known])


def _told(setting: Mapping[str, Any], call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns, or its error with the setting."""
    try:
        return call(*arguments)
    except UnknownField:
        raise
    except ValueError as error:
        told = str(error).removesuffix(".")
        raise ValueError(f"{told} (setting {label(setting)}).") from None


def check_distinct(settings: Sequence[Setting]) -> None:
    """Refuse a setting that would be trained twice, and ranked as two.

    Raises:
      ValueError: with its fields and values.
    """
    seen: dict[Any, int] = {}
    for i, setting in enumerate(settings):
        first = seen.setdefault(frozenset((k, _key(v)) for k, v in setting.items()), i)
        if first != i:
            raise ValueError(
                f"Expected each setting of the grid once, got {label(setting)} as "
                f"settings {first} and {i}."
            )


def _key(value: Any) -> Any:
    """A setting's value, hashable; what is off has two names."""
    if isinstance(value, list | tuple):
        return tuple(map(_key, value))
    return OFF[0] if value is None or is_off(value) else value


def configured(config: Config, setting: Mapping[str, Any]) -> Config:
    """A config with those fields of a setting that are not the environment's."""
    rest = {k: v for k, v in setting.items() if not k.startswith(ENV)}
    return replace(config, {k: _whole(k, v) for k, v in rest.items()})


def _whole(name: str, value: Any) -> Any:
    """A range's whole number as the int that the field wants."""
    fits = isinstance(value, float) and value.is_integer() and name in _INTS
    return int(value) if fits else value


def split(
    variants: Sequence[Variant],
    settings: Sequence[Setting],
    num_seeds: int,
    *,
    env_static: bool = False,
    always: Collection[str] = (),
) -> list[Group]:
    """Split runs into groups; run `i * num_seeds + j` has setting i and seed j.

    Floats of the config and leaves of the environment's parameters may differ within a
    group; everything else may not.

    Args:
      variants: the settings in full.
      settings: the settings.
      num_seeds: runs of each.
      env_static: the environment's parameters may not differ either.
      always: config fields that are among a group's values even where they do not
        differ, so that its program serves other settings too.
    """
    members: dict[Any, list[int]] = {}
    for i, variant in enumerate(variants):
        members.setdefault(static_key(variant, env_static), []).append(i)
    return [
        _group(
            [variants[i] for i in of], [settings[i] for i in of], of, num_seeds, always
        )
        for of in members.values()
    ]


def _group(
    variants: list[Variant],
    settings: list[Setting],
    of: list[int],
    num_seeds: int,
    always: Collection[str],
) -> Group:
    runs = np.asarray(of)[:, None] * num_seeds + np.arange(num_seeds)
    traced = [_traced(variant) for variant in variants]
    differing = {
        name: np.repeat(np.stack(column), num_seeds, axis=0)
        for name in traced[0]
        if _differ(column := [values[name] for values in traced]) or name in always
    }
    first = settings[0]
    alike = {k: v for k, v in first.items() if all(s[k] == v for s in settings)}
    return Group(
        runs=runs.reshape(-1),
        config=variants[0].config,
        env_params=variants[0].env_params,
        values=differing,
        setting=alike,
    )


def _differ(column: list[np.ndarray]) -> bool:
    return any(not np.array_equal(x, column[0]) for x in column)


def static_key(variant: Variant, env_static: bool = False) -> Any:
    """What must be the same of all runs of a program, hashable; see `split`."""
    config = flatten(variant.config)
    floats = tuple(_floats(config))
    rest = tuple((k, v) for k, v in config.items() if k not in floats)
    leaves, structure = jax.tree.flatten(variant.env_params)
    return rest, floats, structure, tuple(_kept(x, env_static) for x in leaves)


def _kept(leaf: Any, whole: bool) -> Any:
    """What of a leaf must be the same: its type, or all of it."""
    if not _is_number(leaf):
        return leaf if isinstance(leaf, Hashable) else id(leaf)
    array = np.asarray(leaf)
    return array.shape, array.dtype.str, array.tobytes() if whole else b""


def _floats(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The floats of a flat config, those of NumPy and JAX included."""
    return {
        name: value
        for name, value in flat.items()
        if isinstance(value, float) or getattr(value, "shape", None) == ()
    }


def _traced(variant: Variant) -> dict[str, np.ndarray]:
    """All numbers of a variant that a program may take as arguments."""
    own = {k: v for k, v in _env_leaves(variant.env_params).items() if _is_number(v)}
    numbers = _floats(flatten(variant.config)) | own
    return {name: _narrow(value) for name, value in numbers.items()}


def _is_number(leaf: Any) -> bool:
    """Whether a leaf of parameters is a number, or an array of them."""
    return env_fields.kind_of(leaf) is not None


def _narrow(leaf: Any) -> np.ndarray:
    """A leaf in the type that JAX gives it."""
    array = np.asarray(leaf)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))


def _env_leaves(env_params: Any) -> dict[str, Any]:
    leaves, _ = jax.tree.flatten_with_path(env_params)
    return {
        ENV + jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }


def algorithm_of(
    group: Group, make: Callable[[Config, Any], PPO]
) -> Callable[[Mapping[str, jax.Array]], PPO]:
    """The algorithm of a run, given what sets it apart within the group.

    Args:
      group: the run's.
      make: (config, env_params) -> algorithm.

    Returns:
      values of one run, by the names of `group.values`, traced -> its algorithm.
    """
    return lambda values: make(*variant_of(group, values))


def variant_of(group: Group, values: Mapping[str, jax.Array]) -> Variant:
    """A run's setting in full, given what sets it apart, as for `algorithm_of`."""
    own = {k: v for k, v in values.items() if not k.startswith(ENV)}
    leaves, structure = jax.tree.flatten(group.env_params)
    names = _env_leaves(group.env_params)
    leaves = [values.get(k, x) for k, x in zip(names, leaves, strict=True)]
    return Variant(
        config=replace(group.config, own),
        env_params=jax.tree.unflatten(structure, leaves),
    )
