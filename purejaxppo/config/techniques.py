"""The optional techniques: a small frozen dataclass each, `None` in the config if off.

Here stand their numbers, defaults and sources; the formulas stand where they are used.
"""

import itertools
from dataclasses import dataclass
from typing import Any

from purejaxppo.config.fields import (
    ABOVE_1,
    ANY,
    BELOW_1,
    BETWEEN,
    NON_NEGATIVE,
    POSITIVE,
    FieldError,
    Technique,
    choice,
    field,
)

# --- Advantages and targets ---------------------------------------------------------


@dataclass(frozen=True)
class OneStep(Technique):
    """r + γ V(s′): the TD residual as advantage, TD(0) as target."""


@dataclass(frozen=True)
class NStep(Technique):
    """Up to n rewards, then V: A3C's returns (Mnih et al. 2016, arXiv:1602.01783)."""

    n: int = field(5, POSITIVE, "Rewards before the bootstrap.")


@dataclass(frozen=True)
class MonteCarlo(Technique):
    """The discounted rewards to come, with V at the rollout's end (Spinning Up)."""


def _baseline() -> Any:
    return choice(
        "value", ("value", "batch_mean"), "What is subtracted from the return."
    )


@dataclass(frozen=True)
class RewardToGo(Technique):
    """The discounted rewards to come, less a baseline."""

    baseline: str | None = _baseline()


@dataclass(frozen=True)
class EpisodeReturn(Technique):
    """The return since the episode's start in the rollout, the same for each step."""

    baseline: str | None = _baseline()


@dataclass(frozen=True)
class ConstantScale(Technique):
    """Advantages divided by a constant, which is unbiased as a batch's std is not."""

    value: float = field(1.0, POSITIVE, "What advantages are divided by.")


@dataclass(frozen=True)
class MeanAbsolute(Technique):
    """Advantages over a moving mean of |A|, without centring (Acme)."""

    decay: float = field(0.995, BELOW_1, "Share of the mean that stays, an update.")


# --- Trust region -------------------------------------------------------------------


def _estimator() -> Any:
    return choice("k3", ("k1", "k2", "k3"), "Estimate of the KL.")


def _at() -> Any:
    return choice("minibatch", ("minibatch", "epoch"), "When the KL is looked at.")


@dataclass(frozen=True)
class KLPenalty(Technique):
    """−β KL(old ‖ new), β following a target once an update.

    The defaults are the paper's: ×2 above 1.5 targets, ×½ below a target / 1.5.
    Source: Schulman et al. 2017, arXiv:1707.06347, section 4.
    """

    coef: float = field(1.0, NON_NEGATIVE, "β, at first if adaptive.")
    target: float | None = field(0.01, POSITIVE, "KL of an update to aim at.")
    adaptive: bool = field(True, ANY, "Whether β follows the target.")
    high: float = field(1.5, POSITIVE, "β rises above this many targets.")
    low: float = field(1 / 1.5, POSITIVE, "β falls below this many targets.")
    up: float = field(2.0, ABOVE_1, "Factor by which β rises.")
    down: float = field(0.5, BETWEEN, "Factor by which β falls.")
    min: float = field(1e-10, NON_NEGATIVE, "Lower bound of β.")
    max: float = field(1e10, POSITIVE, "Upper bound of β.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptive and self.target is None:
            raise FieldError("kl_penalty", "target", "be given if adaptive", None)


@dataclass(frozen=True)
class KLStop(Technique):
    """No more steps in an update once the KL is above `factor` targets.

    At a minibatch, before its step (SB3, Spinning Up); at an epoch, by its mean.
    """

    target: float = field(0.01, POSITIVE, "KL of an update to aim at.")
    factor: float = field(1.5, POSITIVE, "How many targets are too many.")
    scope: str = choice("all", ("all", "policy"), "What stops.")
    at: str = _at()
    estimator: str = _estimator()


@dataclass(frozen=True)
class KLLearningRate(Technique):
    """The learning rate falls where the KL is high and rises where low (rl-games)."""

    target: float = field(0.008, POSITIVE, "KL to aim at.")
    high: float = field(2.0, POSITIVE, "The rate falls above this many targets.")
    low: float = field(0.5, POSITIVE, "The rate rises below this many targets.")
    factor: float = field(1.5, ABOVE_1, "By which it rises or falls.")
    min: float = field(1e-6, NON_NEGATIVE, "Lower bound of the learning rate.")
    max: float = field(1e-2, POSITIVE, "Upper bound of the learning rate.")
    at: str = _at()
    estimator: str = _estimator()


@dataclass(frozen=True)
class TRPO(Technique):
    """Trust region policy optimization: a natural gradient step under KL <= max_kl.

    One policy step an update; the epochs are the critic's. Source: Schulman et al.
    2015, arXiv:1502.05477; numbers of OpenAI baselines.
    """

    max_kl: float = field(0.01, POSITIVE, "Bound on the mean KL(old ‖ new).")
    num_iters: int = field(10, POSITIVE, "Iterations of conjugate gradients.")
    damping: float = field(0.1, NON_NEGATIVE, "Added to the Fisher matrix.")
    num_backtracks: int = field(10, POSITIVE, "Lengths that the line search tries.")
    backtrack: float = field(0.5, BETWEEN, "Their ratio.")


# --- Critic -------------------------------------------------------------------------


@dataclass(frozen=True)
class RunningStd(Technique):
    """Values over the running standard deviation of the targets (DI-engine)."""

    eps: float = field(1e-8, POSITIVE, "Added to the variance.")


@dataclass(frozen=True)
class RunningMeanStd(Technique):
    """Values standardised by running statistics of the targets (rl-games)."""

    clip: float = field(5.0, POSITIVE, "Bound on the standardised target.")
    eps: float = field(1e-5, POSITIVE, "Added to the variance.")


@dataclass(frozen=True)
class MovingMeanStd(Technique):
    """Values standardised by moving averages of the targets' moments (Acme)."""

    decay: float = field(0.995, BELOW_1, "Share that stays, an update.")
    min_std: float = field(1e-6, POSITIVE, "Lower bound of the standard deviation.")


@dataclass(frozen=True)
class PopArt(Technique):
    """Moving moments, and an output layer that keeps its outputs when they move.

    Source: van Hasselt et al., "Learning values across many orders of magnitude",
    2016, arXiv:1602.07714.
    """

    decay: float = field(0.99, BELOW_1, "Share that stays, an update.")
    min_std: float = field(1e-4, POSITIVE, "Lower bound of the standard deviation.")
    max_std: float = field(1e6, POSITIVE, "Upper bound of the standard deviation.")


@dataclass(frozen=True)
class SignedHyperbolic(Technique):
    """h(x) = sign(x) (√(|x| + 1) − 1) + ε x.

    Source: Pohlen et al., "Observe and look further", 2018, arXiv:1805.11593.
    """

    eps: float = field(1e-2, POSITIVE, "ε, the slope at infinity.")


@dataclass(frozen=True)
class Symlog(Technique):
    """sign(x) ln(|x| + 1) (Hafner et al. 2023, arXiv:2301.04104)."""


# --- Exploration --------------------------------------------------------------------


@dataclass(frozen=True)
class Linear(Technique):
    """A straight line from ent_coef to `final` over the run."""

    final: float = field(0.0, NON_NEGATIVE, "Value at the run's end.")


@dataclass(frozen=True)
class Exponential(Technique):
    """ent_coef · decayᵘ at update u."""

    decay: float = field(0.99, POSITIVE, "Factor of an update.")


@dataclass(frozen=True)
class Piecewise(Technique):
    """ent_coef times factors at given times, and straight lines between (RLlib)."""

    times: tuple[float, ...] = field(
        (0.0, 1.0),
        ("rise within [0, 1]", lambda x: _rises(x)),
        "Shares of the run that have passed.",
    )
    factors: tuple[float, ...] = field(
        (1.0, 0.0),
        ("hold numbers >= 0", lambda x: all(hasattr(v, "aval") or v >= 0 for v in x)),
        "Factor of ent_coef at each of them.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.factors) != len(self.times):
            rule = f"hold as many numbers as times, {len(self.times)}"
            raise FieldError("piecewise", "factors", rule, self.factors)


def _rises(x: tuple[float, ...]) -> bool:
    if any(hasattr(v, "aval") for v in x):
        return True
    inside = all(0 <= v <= 1 for v in x)
    return bool(x) and inside and all(a < b for a, b in itertools.pairwise(x))


@dataclass(frozen=True)
class EntropyTarget(Technique):
    """ln c ← ln c − step · (H − target) once an update, from c = ent_coef.

    Where no target is given: 0.98 ln n of n discrete actions; 1 + ln 2 nats a dimension
    below the uniform distribution over a Box, which is −1 a dimension over ±1.

    Source: Haarnoja et al., "Soft actor-critic algorithms and applications", 2018,
    arXiv:1812.05905, section 5; here for PPO's bonus.
    """

    target: float | None = field(
        None, ANY, "H in nats (none: 0.98 ln n, or near a Box's uniform distribution)."
    )
    step: float = field(0.1, POSITIVE, "Step size of ln c.")
    max: float = field(1.0, POSITIVE, "Upper bound of c.")


# --- Gradients and optimizers -------------------------------------------------------


def _order() -> Any:
    return field(2, POSITIVE, "Order p of the norm (none: the largest entry).")


@dataclass(frozen=True)
class ClipNorm(Technique):
    """Gradients scaled down to a global p-norm; any p, unlike max_grad_norm."""

    max: float = field(0.5, POSITIVE, "Largest norm.")
    order: int | None = _order()


@dataclass(frozen=True)
class ClipValue(Technique):
    """Each entry of the gradient clipped to ±max."""

    max: float = field(0.5, POSITIVE, "Largest entry.")


@dataclass(frozen=True)
class IgnoreNorm(Technique):
    """A gradient whose p-norm is too large is taken as 0."""

    max: float = field(10.0, POSITIVE, "Largest norm.")
    order: int | None = _order()


@dataclass(frozen=True)
class IgnoreValue(Technique):
    """A gradient with an entry that is too large is taken as 0."""

    max: float = field(10.0, POSITIVE, "Largest entry.")


@dataclass(frozen=True)
class ClipMomentum(Technique):
    """Each entry clipped to a multiple of its root mean square so far (OpenAI Five)."""

    factor: float = field(5.0, POSITIVE, "Multiple of the root mean square.")
    decay: float = field(0.999, BELOW_1, "Of the running mean of squares.")
    warmup: int = field(100, NON_NEGATIVE, "Steps without a clip.")


@dataclass(frozen=True)
class OptimizerGroup(Technique):
    """Adam's numbers for one group of parameters; the common ones where `None`."""

    learning_rate: float | None = field(None, NON_NEGATIVE, "Step size.")
    adam_eps: float | None = field(None, POSITIVE, "Adam's epsilon.")
    weight_decay: float | None = field(
        None, NON_NEGATIVE, "L2 penalty, its gradient λθ added before Adam."
    )


# --- Policy -------------------------------------------------------------------------


@dataclass(frozen=True)
class FixedSigma(Technique):
    """A constant standard deviation."""

    value: float = field(0.5, POSITIVE, "Standard deviation.")


@dataclass(frozen=True)
class ScheduledSigma(Technique):
    """A standard deviation that falls in steps (PPO-PyTorch)."""

    initial: float = field(0.6, POSITIVE, "Standard deviation at first.")
    decay: float = field(0.05, NON_NEGATIVE, "How much it falls each time.")
    every: int = field(250_000, POSITIVE, "Environment steps between two falls.")
    minimum: float = field(0.1, POSITIVE, "Where it stays.")


@dataclass(frozen=True)
class StateSigma(Technique):
    """A standard deviation that the network gives for each state."""

    parametrization: str = choice(
        "clamp",
        ("clamp", "softplus"),
        "Of ln σ within bounds, or of σ = softplus(output).",
    )
    low: float = field(-20.0, ANY, "Lower bound of ln σ.")
    high: float = field(2.0, ANY, "Upper bound of ln σ.")


@dataclass(frozen=True)
class BoundsLoss(Technique):
    """A loss on the Gaussian's mean that keeps it inside the bounds (rl-games)."""

    coef: float = field(1e-4, NON_NEGATIVE, "Weight.")
    form: str = choice(
        "soft", ("soft", "regularization"), "Beyond the bound, or Σ μ² everywhere."
    )
    bound: float = field(
        1.1, POSITIVE, "Where the soft loss begins, in half widths of the Box."
    )


# --- Memory and images --------------------------------------------------------------


def _size() -> Any:
    return field(64, POSITIVE, "Width of the memory.")


def _layer_norm() -> Any:
    return field(False, ANY, "Layer norm of the cell's input and output.")


@dataclass(frozen=True)
class LSTM(Technique):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), Flax's cell."""

    size: int = _size()
    layer_norm: bool = _layer_norm()
    forget_bias: float = field(
        0.0, ANY, "Forget gate's bias at first; 1 keeps longer (Jozefowicz 2015)."
    )


@dataclass(frozen=True)
class GRU(Technique):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), Flax's cell."""

    size: int = _size()
    layer_norm: bool = _layer_norm()


@dataclass(frozen=True)
class MinAtar(Technique):
    """One 3x3 convolution of 16 filters (Young and Tian 2019, arXiv:1903.03176)."""


@dataclass(frozen=True)
class Nature(Technique):
    """32 8x8/4, 64 4x4/2, 64 3x3/1 (Mnih et al. 2015): for images of 84x84 and more."""


@dataclass(frozen=True)
class Impala(Technique):
    """A residual network of 16, 32, 32 filters (Espeholt et al. 2018, 1802.01561)."""


# --- Observations and rewards -------------------------------------------------------


@dataclass(frozen=True)
class ObservationNormalization(Technique):
    """Observations standardised by running statistics, frozen during an update."""

    clip: float = field(10.0, POSITIVE, "Bound on the standardised observation.")
    eps: float = field(1e-8, POSITIVE, "Added to the variance.")


@dataclass(frozen=True)
class RewardNormalization(Technique):
    """Rewards divided by the running standard deviation of the discounted return."""

    clip: float = field(10.0, POSITIVE, "Bound on the scaled reward.")
    eps: float = field(1e-8, POSITIVE, "Added to the variance.")


@dataclass(frozen=True)
class RewardStandardization(Technique):
    """Rewards less their running mean, over their running standard deviation."""

    clip: float = field(10.0, POSITIVE, "Bound on the standardised reward.")
    eps: float = field(1e-8, POSITIVE, "Added to the variance.")


@dataclass(frozen=True)
class RewardTransform(Technique):
    """(r + shift) · scale, then a clip, then the sign if asked for."""

    shift: float = field(0.0, ANY, "Added to the reward.")
    scale: float = field(1.0, ANY, "What the sum is multiplied by.")
    low: float | None = field(None, ANY, "Lower bound.")
    high: float | None = field(None, ANY, "Upper bound.")
    sign: bool = field(False, ANY, "Take the sign: −1, 0 or 1.")


@dataclass(frozen=True)
class EvaluationConfig(Technique):
    """Evaluation of the current policy on the same episodes' seeds every time."""

    every: int = field(50, POSITIVE, "Updates between two evaluations.")
    num_episodes: int = field(16, POSITIVE, "Episodes of one evaluation.")
    max_steps: int = field(10_000, POSITIVE, "Bound on the length of an episode.")
    seed: int = field(0, NON_NEGATIVE, "Seed of the evaluation's episodes.")
    deterministic: bool = field(True, ANY, "Take the mode instead of a sample.")
