"""Rules that random play tells, each a function: a detail, or it raises."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from purejaxppo.checks.random_play import Facts, Subject, refuse
from purejaxppo.environments.protocol import Reset, Step
from purejaxppo.environments.spaces import (
    MASK,
    flatten,
    joined,
    named,
    parts,
    split_mask,
)

TOLERANCE = 1e-5
"""By how much an observation may leave its bounds, relative to a bound beyond 1."""


def random_play(subject: Subject) -> str:
    """Random play runs."""
    assert subject.played is not None
    return f"{subject.num_envs} environments x {subject.num_steps} steps"


def bounds(subject: Subject) -> str:
    """Observations keep within the bounds of their space."""
    _, end, _ = subject.played
    space = subject.observation_space
    seen = jax.tree.map(lambda x: x[: subject.num_envs], (end.low, end.high))
    lows, highs = (flatten(space, tree, "observation") for tree in seen)
    refuse(
        [
            problem
            for (path, part), low, high in zip(parts(space), lows, highs, strict=True)
            for problem in _outside(joined("observation", path), part, low, high)
        ]
    )
    return "all observations within observation_space"


def _outside(path: str, space: Any, low: Any, high: Any) -> list[str]:
    """What is wrong with the extremes `[N, ...]` of one part of the observations."""
    least, most = (np.broadcast_to(x, low[0].shape) for x in _limits(space))
    for bound, sign, seen in ((least, 1.0, low.min(0)), (most, -1.0, high.max(0))):
        with np.errstate(invalid="ignore"):  # Infinity less itself.
            excess = sign * (bound.astype(np.float64) - seen)
            wrong = excess > TOLERANCE * np.maximum(1, np.abs(bound))
        if wrong.any():
            index = tuple(map(int, np.argwhere(wrong)[0]))
            where = f"{path}{list(index)}" if index else path
            return [
                f"{where}: expected within [{least[index]:.6g}, {most[index]:.6g}], "
                f"got {seen[index]:.6g}"
            ]
    return []


def _limits(space: Any) -> tuple[Any, Any]:
    match space:
        case spaces.Box():
            return space.low, space.high
        case spaces.Discrete():
            return space.start, space.start + space.n - 1
        case spaces.MultiDiscrete():
            return space.start, space.start + space.nvec - 1
    return 0, 1


def finite(subject: Subject) -> str:
    """Observations, states and rewards are finite."""
    facts = subject.facts()
    refuse(_not_finite(facts.broken))
    return f"rewards from {facts.reward.min():.6g} to {facts.reward.max():.6g}"


def _not_finite(broken: dict[str, Any]) -> list[str]:
    return [
        f"{path}: not finite, first in step {1 + int(steps.any(0).argmax())}"
        for path, steps in broken.items()
        if steps.any()
    ]


def valid_actions(subject: Subject) -> str:
    """The mask always leaves an action."""
    facts = subject.facts()
    if facts.stuck.any():
        time = 1 + int(facts.stuck.any(0).argmax())
        raise ValueError(
            f"Expected observation.{MASK} to allow something in each part until the "
            f"episode ends, got nothing in step {time}."
        )
    return "in every step" if _has_mask(subject) else "every action is valid"


def _has_mask(subject: Subject) -> bool:
    return split_mask(subject.observation_space)[1] is not None


def determinism(subject: Subject) -> str:
    """The same key gives the same step, also where it is traced again."""
    first, again = subject.lower_once(), subject.lower_once()
    # The same program gives the same numbers; another one may, too.
    if first.as_text() != again.as_text():
        once, twice = (
            jax.device_get(program.compile()(subject.keys, subject.params))
            for program in (first, again)
        )
        _check_same(once, twice)
    start = jax.tree.leaves(subject.played[0].now)
    alike = all((x == np.broadcast_to(x[:1], x.shape)).all() for x in start)
    starts = "every start is the same" if alike else "starts differ by key"
    return f"the same key gives the same step; {starts}"


def _check_same(once: tuple[Reset, Step], twice: tuple[Reset, Step]) -> None:
    for name, ours, theirs in zip(("reset", "step"), once, twice, strict=True):
        other = named(theirs, "").values()
        for (path, x), y in zip(named(ours, "").items(), other, strict=True):
            if not np.array_equal(x, y, equal_nan=True):
                raise ValueError(
                    f"Expected {name} to depend on its arguments only, got another "
                    f"{path.replace('obs', 'observation', 1)} when traced again."
                )


def episodes(subject: Subject) -> str:
    """What became of the episodes; only a note."""
    facts = subject.facts()
    both = facts.terminated & facts.truncated
    done = facts.terminated | facts.truncated
    if not done.any():
        return f"no episode ended in {subject.num_steps} steps"
    length = done.size / done.sum()
    line = (
        f"{done.sum()} ended, one in {length:.3g} steps: {facts.terminated.sum()} "
        f"terminated, {facts.truncated.sum()} truncated"
    )
    return f"{line}; always both at once" if (both == done).all() else line


def after_the_end(subject: Subject) -> str:
    """Nothing becomes NaN where an episode is stepped on after its end."""
    facts = subject.facts(resets=False)
    refuse(_not_finite(facts.broken))
    if not (facts.terminated | facts.truncated).any():
        return "no episode ended, so none was stepped on"
    return "stepping on after the end breaks nothing"


def no_auto_reset(subject: Subject) -> str:
    """No reset inside `step`, as far as that is certain.

    That is a counter back at its start, or a state that only a reset can have made.
    """
    facts = subject.facts()
    done = facts.terminated | facts.truncated
    if not done.any():
        return "no episode ended, so nothing can be told"
    counters = [path for path in facts.before if _returns(facts, path, done)]
    if counters:
        raise ValueError(
            f"Expected step not to reset, but {counters[0]}, which counts steps, is "
            "back at its start when an episode ends; the rollout resets."
        )
    if _starts_again(subject, facts):
        raise ValueError(
            "Expected step not to reset, but the state that it returns when an episode "
            "ends is that of reset with a key made from its own; the rollout resets."
        )
    return "no reset inside step was seen"


def _returns(facts: Facts, path: str, done: np.ndarray) -> bool:
    """Whether a scalar goes up by 1 in all steps, but at the end back to its start."""
    before, after, fresh = facts.before[path], facts.after[path], facts.fresh[path]
    start = fresh.flat[0]
    counts, back = (after == before + 1)[~done], (after == start)[done]
    return bool((fresh == start).all() and counts.size and counts.all() and back.all())


def _starts_again(subject: Subject, facts: Facts) -> bool:
    """Whether the states at the ends `[N]` are those of resets with keys made there."""
    last = jax.tree.map(lambda x: x[: subject.num_envs], subject.played[1].last)
    rows = np.flatnonzero(last.any)
    key, state = jax.tree.map(lambda x: x[rows], (last.key, last.state))
    ended = _matrix(state, len(rows))
    distinct = len(np.unique(ended.round(3), axis=0))
    if distinct < max(2, len(rows)) or not _may_be_fresh(named(state, "state"), facts):
        return False
    keys = jax.random.wrap_key_data(key)
    pairs, triples = (
        jax.vmap(lambda key, num=num: jax.random.split(key, num))(keys)
        for num in (2, 3)
    )
    made = jnp.concatenate([keys[:, None], pairs, triples], axis=1)
    states = _matrix(subject.start_states(made.reshape(-1)), made.size)
    candidates = states.reshape(*made.shape, -1).swapaxes(0, 1)
    return any(np.allclose(x, ended, rtol=1e-4, atol=1e-6) for x in candidates)


def _may_be_fresh(states: dict[str, Any], facts: Facts) -> bool:
    """Whether states `[N]` agree with fresh starts in what is the same in all of those.

    It spares most environments the compiling of their resets.
    """
    constant = {path: x.flat[0] for path, x in facts.fresh.items() if np.ptp(x) == 0}
    return all((states[path] == value).all() for path, value in constant.items())


def _matrix(tree: Any, rows: int) -> np.ndarray:
    leaves = [
        np.asarray(x, np.float64).reshape(rows, -1) for x in jax.tree.leaves(tree)
    ]
    return np.concatenate([np.zeros((rows, 1)), *leaves], axis=1)
