"""From an action space to a distribution over it, and how to sample that cheaply."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import distrax
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np


class Sampler(NamedTuple):
    """Sampling in two parts: noise drawn ahead, and an action made from it.

    Random bits drawn for a whole rollout at once are much cheaper than inside its
    loop. `draw(key, shape)` gives noise with leading axes `shape`;
    `sample(distribution, noise)` consumes one slice of it.
    """

    draw: Callable[[jax.Array, tuple[int, ...]], jax.Array]
    sample: Callable[[Any, jax.Array], Any]


class ActionHead(NamedTuple):
    """What a policy needs to know of an action space.

    Attributes:
      num_outputs: width of the policy network's last layer.
      has_scale: whether the policy owns a state-independent log standard deviation
        `[num_outputs]`.
      distribution: (outputs `[..., num_outputs]`, log_std) -> distribution, of distrax
        or with the same `sample(seed=)`, `log_prob`, `entropy`, `mode` and
        `kl_divergence`.
      sampler: cheap sampling for that distribution.
      to_env: action as sampled -> action that the environment gets.
      scheduled: whether that log standard deviation is a schedule's, and not learned.
      bounds: middle and half width of the box that a Gaussian's mean should lie in,
        `None` if it has none.
    """

    num_outputs: int
    has_scale: bool
    distribution: Callable[[jax.Array, Any], Any]
    sampler: Sampler
    to_env: Callable[[jax.Array], jax.Array]
    scheduled: bool = False
    bounds: tuple[np.ndarray, np.ndarray] | None = None


POLICIES = ("gaussian", "tanh_gaussian", "beta")
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


def make_action_head(
    space: gymnasium.spaces.Space,
    *,
    policy: str = "gaussian",
    sigma: Sigma = INDEPENDENT,
    tanh_mean: bool = False,
) -> ActionHead:
    """The action head of a space.

    Args:
      space: Discrete, or a Box of floats.
      policy: over a Box; "gaussian" (`diagonal_gaussian`), or `tanh_gaussian` or
        `beta`, which need a bounded Box.
      sigma: the Gaussians' standard deviation.
      tanh_mean: whether "gaussian" has its mean bounded by tanh.

    Raises:
      ValueError: the space is neither Discrete nor a floating-point Box; or an option
        does not go with it, or with the others.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        where = "for a Discrete action space"
        _expect("network.policy", ("gaussian",), policy, where)
        if sigma.kind != "independent":
            raise ValueError(f"Expected network.sigma to be off {where}, got it on.")
        _expect("network.tanh_mean", (False,), tanh_mean, where)
        return categorical(int(space.n), int(space.start))
    if not isinstance(space, gymnasium.spaces.Box) or not np.issubdtype(
        space.dtype, np.floating
    ):
        raise ValueError(
            f"Expected action_space to be Discrete or a Box of floats, got {space}."
        )
    return _box_head(space, policy, sigma, tanh_mean)


def _box_head(
    space: gymnasium.spaces.Box, policy: str, sigma: Sigma, tanh_mean: bool
) -> ActionHead:
    low, high = space.low, space.high
    _expect("network.policy", POLICIES, policy)
    if policy == "gaussian":
        return diagonal_gaussian(low, high, sigma=sigma, tanh_mean=tanh_mean)
    where = f"for network.policy '{policy}'"
    _expect("network.tanh_mean", (False,), tanh_mean, where)
    half = _center_and_half(low, high)[1]
    if not (np.isfinite(half) & (half > 0)).all():
        wide = " ".join(str(space).split())
        raise ValueError(f"Expected action_space to be bounded {where}, got {wide}.")
    if policy == "tanh_gaussian":
        return tanh_gaussian(low, high, sigma=sigma)
    _expect("network.sigma", ("independent",), sigma.kind, where)
    return beta(low, high)


def _expect(name: str, wanted: Sequence[Any], got: Any, where: str = "") -> None:
    if got not in wanted:
        *most, last = map(str, wanted)
        names = f"{', '.join(most)} or {last}" if most else last
        raise ValueError(
            " ".join(f"Expected {name} to be {names} {where}".split())
            + f", got {got!r}."
        )


def _center_and_half(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """Middle and half width of a box, not finite where it is not bounded.

    Nor where the width overflows, as between the least and the greatest float.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    with np.errstate(all="ignore"):
        center, width = (high + low) / 2, (high - low).astype(np.float32)
    return center.astype(np.float32), width / 2


class Categorical(distrax.Categorical):
    """distrax's, without a second normalisation, nor a check of the actions' range."""

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Logarithm of the probability of values in 0 ... n - 1."""
        chosen = jax.nn.one_hot(value, self.num_categories, dtype=bool)
        return jnp.where(chosen, self.logits, 0).sum(-1)

    def entropy(self) -> jax.Array:
        """−Σ p ln p, where 0 ln 0 is 0."""
        p = jnp.exp(self.logits)
        return -(p * jnp.where(p > 0, self.logits, 0)).sum(-1)


def categorical(n: int, start: int = 0) -> ActionHead:
    """Categorical distribution over `start ... start + n - 1`, from logits."""

    def distribution(outputs: jax.Array, log_std: Any) -> distrax.Distribution:
        del log_std
        return Categorical(logits=outputs)

    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*shape, n))

    def sample(distribution: distrax.Categorical, noise: jax.Array) -> jax.Array:
        # The Gumbel-max trick, which is how jax.random.categorical samples too.
        return jnp.argmax(distribution.logits + noise, axis=-1)

    def to_env(action: jax.Array) -> jax.Array:
        return action + start if start else action

    return ActionHead(n, False, distribution, Sampler(draw, sample), to_env)


def diagonal_gaussian(
    low: np.ndarray,
    high: np.ndarray,
    *,
    sigma: Sigma = INDEPENDENT,
    tanh_mean: bool = False,
) -> ActionHead:
    """Independent normals, by default with a state-independent standard deviation.

    The sampled action is what the log-probability is of; the environment gets it
    clipped to `[low, high]`. `tanh_mean` bounds the mean: (low + high) / 2 +
    tanh(output) (high − low) / 2, and tanh(output) in a dimension without both bounds.
    """
    _expect("network.sigma", SIGMAS, sigma.kind)
    _expect("sigma.parametrization", ("clamp", "softplus"), sigma.parametrization)
    shape = low.shape
    center, half = _center_and_half(low, high)
    bounded = np.isfinite(center) & np.isfinite(half)
    center, half = np.where(bounded, center, 0.0), np.where(bounded, half, 1.0)

    def distribution(outputs: jax.Array, log_std: Any) -> distrax.Independent:
        mean, std = _mean_and_std(outputs, log_std, sigma, shape)
        if tanh_mean:
            mean = _affine(jnp.tanh(mean), center, half)
        return distrax.Independent(distrax.Normal(mean, std), len(shape))

    def draw(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, (*leading, *shape))

    def sample(distribution: distrax.Independent, noise: jax.Array) -> jax.Array:
        return jnp.asarray(distribution.mean() + distribution.stddev() * noise)

    return ActionHead(
        num_outputs=math.prod(shape) * (2 if sigma.kind == "conditioned" else 1),
        has_scale=sigma.kind in ("independent", "scheduled"),
        distribution=distribution,
        sampler=Sampler(draw, sample),
        to_env=lambda action: _clip(action, low, high),
        scheduled=sigma.kind == "scheduled",
        bounds=(center, half),
    )


SOFTPLUS_FLOOR = 1e-5
"""Added to a softplus standard deviation, which may round to 0."""


def _mean_and_std(
    outputs: jax.Array, log_std: Any, sigma: Sigma, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation `[..., *shape]` of `outputs` `[..., n or 2 n]`."""
    shapes = *outputs.shape[:-1], *shape
    if sigma.kind == "conditioned":
        outputs, x = jnp.split(outputs, 2, axis=-1)
        if sigma.parametrization == "clamp":
            std = jnp.exp(jnp.clip(x, sigma.low, sigma.high))
        else:
            std = jax.nn.softplus(x) + SOFTPLUS_FLOOR
        return outputs.reshape(shapes), std.reshape(shapes)
    mean = outputs.reshape(shapes)
    if sigma.kind == "fixed":
        return mean, jnp.full_like(mean, sigma.value)
    if sigma.kind == "scheduled":
        log_std = jax.lax.stop_gradient(log_std)
    return mean, jnp.broadcast_to(jnp.exp(log_std).reshape(shape), mean.shape)


def _affine(x: jax.Array, shift: np.ndarray, scale: np.ndarray) -> jax.Array:
    return jnp.broadcast_to(shift, x.shape) + jnp.broadcast_to(scale, x.shape) * x


def _clip(action: jax.Array, low: np.ndarray, high: np.ndarray) -> jax.Array:
    bounds = [jnp.broadcast_to(bound, action.shape) for bound in (low, high)]
    return jnp.clip(action, *bounds)


class TanhGaussian(NamedTuple):
    """Actions c + h tanh(u) of normal u, by u: what is sampled and stored is u.

    So no tanh is ever inverted, and the density of an action is finite and exact
    however saturated the action is. Source: Haarnoja et al., "Soft actor-critic", 2018,
    appendix C.

    Attributes:
      base: the distribution of u.
      volume: Σ ln h over the dimensions of an action, `[B]`.
    """

    base: Any
    volume: jax.Array

    def sample(self, seed: jax.Array) -> jax.Array:
        """Samples of u."""
        return self.base.sample(seed=seed)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Of the environment's action, at u: ln N(u) − Σ ln h (1 − tanh² u)."""
        slope = _sum_event(log_tanh_slope(value), self.base)
        return self.base.log_prob(value) - slope - self.volume

    def entropy(self) -> jax.Array:
        """Of the environment's action: H(u) + Σ ln h + Σ E[ln(1 − tanh² u)].

        The expectation is by Gauss-Hermite quadrature on 20 nodes, so that it is smooth
        and without noise; a dimension of u with a standard deviation of 1 is off by
        1e-5, of 2 by .002, of 5 by .1.
        """
        mean, std = self.base.mean(), self.base.stddev()
        nodes = jnp.broadcast_to(NODES, (*mean.shape, NODES.size))
        slope = log_tanh_slope(mean[..., None] + std[..., None] * nodes)
        expected = (slope * jnp.broadcast_to(WEIGHTS, slope.shape)).sum(-1)
        return self.base.entropy() + self.volume + _sum_event(expected, self.base)

    def mode(self) -> jax.Array:
        """The mean of u, which is the median of the environment's action."""
        return self.base.mean()

    def kl_divergence(self, other: "TanhGaussian") -> jax.Array:
        """KL(self ‖ other), which a bijection of both leaves alone."""
        return self.base.kl_divergence(other.base)


def _quadrature(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the mean of a function of a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes.astype(np.float32), (weights / weights.sum()).astype(np.float32)


NODES, WEIGHTS = _quadrature(20)


def log_tanh_slope(u: jax.Array) -> jax.Array:
    """ln(1 − tanh² u) = 2 (ln 2 − u − softplus(−2u)), finite for every finite u."""
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


def _sum_event(x: jax.Array, like: Any) -> jax.Array:
    return x.sum(range(x.ndim - like.reinterpreted_batch_ndims, x.ndim))


def tanh_gaussian(
    low: np.ndarray, high: np.ndarray, *, sigma: Sigma = INDEPENDENT
) -> ActionHead:
    """Independent normals squashed into the box by tanh; see `TanhGaussian`.

    What is sampled and stored is u; the environment gets (low + high) / 2 +
    tanh(u) (high − low) / 2.
    """
    gaussian = diagonal_gaussian(low, high, sigma=sigma)
    center, half = _center_and_half(low, high)
    volume = float(np.log(half.astype(np.float64)).sum())

    def distribution(outputs: jax.Array, log_std: Any) -> TanhGaussian:
        base = gaussian.distribution(outputs, log_std)
        return TanhGaussian(base, jnp.full(outputs.shape[:-1], volume))

    def sample(distribution: TanhGaussian, noise: jax.Array) -> jax.Array:
        return gaussian.sampler.sample(distribution.base, noise)

    def to_env(u: jax.Array) -> jax.Array:
        # The clip is against rounding: the box must contain the action.
        return _clip(_affine(jnp.tanh(u), center, half), low, high)

    return gaussian._replace(
        bounds=None,
        distribution=distribution,
        sampler=Sampler(gaussian.sampler.draw, sample),
        to_env=to_env,
    )


MARGIN = 1e-6
"""How far from 0 and 1 a Beta policy's samples keep."""


class Beta(NamedTuple):
    """Independent Beta distributions of x in (0, 1), at α, β >= 1.

    Samples are clipped to [1e-6, 1 − 1e-6] before anything else sees them, so that the
    log-probability is finite, and of what was sampled. All densities are those of x;
    that of the environment's action would be less by the constant Σ ln(high − low).

    Attributes:
      base: without the clip.
    """

    base: Any

    def sample(self, seed: jax.Array) -> jax.Array:
        """Samples of x."""
        return beta_sample(self, draw_proposals(seed, self.base.mean().shape))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Σ (α − 1) ln x + (β − 1) ln(1 − x) − ln B(α, β)."""
        return self.base.log_prob(value)

    def entropy(self) -> jax.Array:
        """Differential entropy of x: at most 0, of the uniform."""
        return self.base.entropy()

    def mode(self) -> jax.Array:
        """The mean α / (α + β): what a deterministic policy plays, by custom."""
        return self.base.mean()

    def kl_divergence(self, other: "Beta") -> jax.Array:
        """KL(self ‖ other), in closed form."""
        return self.base.kl_divergence(other.base)


PROPOSALS = 6
"""Of a gamma variate; at α >= 1 all of them are rejected once in 8e7 draws."""


def draw_proposals(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Noise of Beta variates `shape`: normals and log uniforms, `[*shape, 2, 2, k]`.

    The middle axis are the two gamma variates that each is made of, k the proposals.
    """
    normal_key, uniform_key = jax.random.split(key)
    shape = *shape, 2, PROPOSALS
    log_uniform = -jax.random.exponential(uniform_key, shape)
    return jnp.stack([jax.random.normal(normal_key, shape), log_uniform], -3)


def beta_sample(distribution: Beta, noise: jax.Array) -> jax.Array:
    """Clipped G(α) / (G(α) + G(β)), gamma variates G made of `draw_proposals`."""
    parameters = distribution.base.distribution
    shapes = jnp.stack([parameters.alpha, parameters.beta], -1)
    gammas = gamma_sample(shapes, noise[..., 0, :, :], noise[..., 1, :, :])
    return jnp.clip(gammas[..., 0] / gammas.sum(-1), MARGIN, 1 - MARGIN)


def gamma_sample(a: jax.Array, normal: jax.Array, log_uniform: jax.Array) -> jax.Array:
    """Gamma variates of shape a >= 1 `[...]`: the first accepted proposal `[..., k]`.

    d v, with v = (1 + z / √(9 d))³ and d = a − 1/3, accepted if ln u < z² / 2 + d (1 −
    v + ln v); d where all are rejected. Unlike a loop until one is accepted, this costs
    the same in every lane, and its random bits can be drawn ahead. Source: Marsaglia
    and Tsang, "A simple method for generating gamma variables", 2000.
    """
    d = a - 1 / 3
    ratio = jnp.ones_like(d)
    for k in reversed(range(normal.shape[-1])):
        z = normal[..., k]
        # At root <= 0 the proposal is impossible: so near 0, ln v rejects it.
        root = jnp.maximum(1 + z / jnp.sqrt(9 * d), 1e-9)
        bound = 0.5 * jnp.square(z) + d * (1 - root**3 + 3 * jnp.log(root))
        ratio = jnp.where(log_uniform[..., k] < bound, root**3, ratio)
    return d * ratio


def beta(low: np.ndarray, high: np.ndarray) -> ActionHead:
    """Independent Beta distributions over a box: α, β = 1 + softplus(output).

    What is sampled and stored is x in (0, 1), see `Beta`; the environment gets low +
    (high − low) x. The outputs are those of every α, then those of every β. Source:
    Chou et al., "Improving stochastic policy gradients in continuous control with deep
    reinforcement learning using the Beta distribution", 2017.
    """
    shape = low.shape

    def distribution(outputs: jax.Array, log_std: Any) -> Beta:
        del log_std
        shapes = *outputs.shape[:-1], *shape
        alphas, betas = jnp.split(1 + jax.nn.softplus(outputs), 2, axis=-1)
        parameters = distrax.Beta(alphas.reshape(shapes), betas.reshape(shapes))
        return Beta(distrax.Independent(parameters, len(shape)))

    def draw(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
        return draw_proposals(key, (*leading, *shape))

    def to_env(x: jax.Array) -> jax.Array:
        # The clip is against rounding: the box must contain the action.
        return _clip(_affine(x, low, high - low), low, high)

    sampler = Sampler(draw, beta_sample)
    return ActionHead(2 * math.prod(shape), False, distribution, sampler, to_env)


def temper(distribution: Any, temperature: float | jax.Array) -> Any:
    """`distribution` at temperature τ > 0: 1 leaves it alone, 0 would be its mode.

    Logits / τ; τ σ of a Gaussian, before any tanh (its density to the power of 1 / τ
    would be √τ σ); 1 + (α − 1) / τ and likewise β of a Beta (its density to the power
    of 1 / τ). Actions sampled at a temperature need its log-probabilities, too.

    Raises:
      ValueError: it is none of `make_action_head`'s.
    """
    if isinstance(distribution, Categorical):
        return Categorical(logits=distribution.logits / temperature)
    if isinstance(distribution, TanhGaussian):
        return distribution._replace(base=temper(distribution.base, temperature))
    if isinstance(distribution, Beta):
        return Beta(temper(distribution.base, temperature))
    if isinstance(distribution, distrax.Independent):
        base, ndims = distribution.distribution, distribution.reinterpreted_batch_ndims
        if isinstance(base, distrax.Normal):
            normal = distrax.Normal(base.loc, base.scale * temperature)
            return distrax.Independent(normal, ndims)
        if isinstance(base, distrax.Beta):
            flatter = [1 + (x - 1) / temperature for x in (base.alpha, base.beta)]
            return distrax.Independent(distrax.Beta(*flatter), ndims)
    name = type(distribution).__name__
    raise ValueError(f"Expected a distribution of make_action_head's, got {name}.")


def pre_squash_mean(distribution: Any) -> jax.Array:
    """Mean `[B, n]` of a Gaussian, before its tanh if it has one: for a bounds loss.

    Raises:
      ValueError: it is no Gaussian.
    """
    base = distribution.base if isinstance(distribution, TanhGaussian) else distribution
    if not isinstance(getattr(base, "distribution", None), distrax.Normal):
        name = type(distribution).__name__
        raise ValueError(f"Expected the distribution to be Gaussian, got {name}.")
    return base.mean().reshape(*base.batch_shape, math.prod(base.event_shape))


def keyed_sampler() -> Sampler:
    """Sampling any distrax-like distribution: the noise is keys."""

    def sample(distribution: Any, key: jax.Array) -> Any:
        return distribution.sample(seed=key)

    return Sampler(lambda key, shape: jax.random.split(key, shape[:1]), sample)
