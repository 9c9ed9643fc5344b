"""What a policy needs to know of an action space, as records."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Sampler(NamedTuple):
    """Sampling in two parts: noise drawn ahead, and an action made from it.

    Random bits drawn for a whole rollout at once are much cheaper than inside its
    loop. `draw(key, shape)` gives noise with leading axes `shape`, an array or a tree
    of them; `sample(distribution, noise)` consumes one slice of it.
    """

    draw: Callable[[jax.Array, tuple[int, ...]], Any]
    sample: Callable[[Any, Any], Any]


class Conditional(NamedTuple):
    """The widths of the network of one part of an autoregressive policy.

    Attributes:
      num_outputs: width of its last layer.
      num_codes: width of the choices that it sees, 0 if it sees none.
    """

    num_outputs: int
    num_codes: int


class ActionHead(NamedTuple):
    """What a policy needs to know of an action space.

    Attributes:
      num_outputs: width of the policy network's last layer, over all parts.
      num_scales: length of the state-independent log standard deviation that the policy
        owns, 0 if it owns none.
      distribution: (outputs `[..., num_outputs]`, log_std `[num_scales]` or `None`,
        mask=None) -> distribution, of distrax or with the same `sample(seed=)`,
        `log_prob`, `entropy`, `mode` and `kl_divergence`. The mask is that of
        `protocol.Environment`, with the leading axes of the outputs. An
        autoregressive head takes a tuple of `autoregressive.Layers` as outputs.
      sampler: cheap sampling for that distribution.
      to_env: action as sampled -> action that the environment gets.
      scheduled: whether that log standard deviation is a schedule's, and not learned.
      bounds: middle and half width `[n]` of the box that a Gaussian's mean should lie
        in, `None` if it has none.
      conditionals: of an autoregressive head, one for each part, else empty.
    """

    num_outputs: int
    num_scales: int
    distribution: Callable[..., Any]
    sampler: Sampler
    to_env: Callable[[Any], Any]
    scheduled: bool = False
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    conditionals: tuple[Conditional, ...] = ()


SIGMAS = ("independent", "fixed", "scheduled", "conditioned")


class Sigma(NamedTuple):
    """Where a Gaussian policy's standard deviation σ comes from.

    Attributes:
      kind: "independent" is a parameter of its own; "fixed" is `value`; "scheduled" is
        a parameter without a gradient, for the trainer to overwrite; "conditioned" is
        `[n]` more outputs of the network, behind the n of the mean.
      value: the fixed σ; may be traced.
      low: least log σ, where conditioned and clamped.
      high: greatest log σ, likewise.
      parametrization: of a conditioned σ from its output x. "clamp" is
        exp(clip(x, low, high)), without a gradient outside; "softplus" is
        ln(1 + exp x) + 1e-5. A last layer that starts near 0 so starts σ near 1,
        respectively near .69.
    """

    kind: str = "independent"
    value: Any = None
    low: float = -20.0
    high: float = 2.0
    parametrization: str = "clamp"


INDEPENDENT = Sigma()


def expect(name: str, wanted: Sequence[Any], got: Any, where: str = "") -> None:
    """Refuse an option `got` that is none of `wanted`.

    Raises:
      ValueError: it is not.
    """
    if got not in wanted:
        *most, last = map(str, wanted)
        names = f"{', '.join(most)} or {last}" if most else last
        raise ValueError(
            " ".join(f"Expected {name} to be {names} {where}".split())
            + f", got {got!r}."
        )
