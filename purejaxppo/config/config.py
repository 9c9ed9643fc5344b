"""The configuration: one frozen dataclass, checked when it is made.

Fields of type `float` may be traced, so that one program serves a sweep over them; all
others are static. A technique that is off is `None` and adds nothing to the program.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from purejaxppo.config import techniques as t
from purejaxppo.config.choices import ACTIVATIONS, POLICIES, SCHEMES
from purejaxppo.config.fields import (
    ABOVE_1,
    ANY,
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    Technique,
    check,
    choice,
    field,
)


def _are_pairs(pairs: tuple[str, ...]) -> bool:
    """Whether this says which parts of an action see which earlier ones."""
    return pairs == ("all",) or all(pair.count(":") == 1 for pair in pairs)


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Technique):
    """The default actor-critic (ignored where the user passes a network)."""

    widths: tuple[int, ...] = field(
        (64, 64),
        ("hold integers > 0", lambda x: all(w > 0 for w in x)),
        "Width of each hidden layer.",
    )
    activation: str = choice("tanh", ACTIVATIONS, "Activation of the hidden layers.")
    conv: t.MinAtar | t.Nature | t.Impala | None = field(
        None, ANY, "Convolutions for images, before the hidden layers."
    )
    memory: t.LSTM | t.GRU | None = field(
        None, ANY, "A recurrent cell behind the hidden layers."
    )
    layer_norm: bool = field(False, ANY, "Layer norm before each activation.")
    shared: bool = field(False, ANY, "One trunk for actor and critic.")
    init: str = choice("orthogonal", SCHEMES, "How the first weights are drawn.")
    init_std: float = field(0.01, POSITIVE, "Standard deviation of the normal scheme.")
    hidden_gain: float | None = field(
        math.sqrt(2), POSITIVE, "Gain of the hidden layers (none: the activation's)."
    )
    policy_gain: float = field(0.01, POSITIVE, "Gain of the policy's last layer.")
    value_gain: float = field(1.0, POSITIVE, "Gain of the value's last layer.")
    policy: str = choice(
        "gaussian",
        POLICIES,
        "Distribution over a Box of actions.",
    )
    autoregressive: tuple[str, ...] = field(
        (),
        ("hold 'all', or pairs 'later:earlier'", _are_pairs),
        "Which parts of an action see which earlier ones: all, or later:earlier,...",
    )
    tanh_mean: bool = field(False, ANY, "Keep the Gaussian's mean within the bounds.")
    log_std_init: float = field(0.0, ANY, "Initial log standard deviation (Box).")
    sigma: t.FixedSigma | t.ScheduledSigma | t.StateSigma | None = field(
        None, ANY, "Standard deviation (off: learned, the same in each state)."
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters of PPO. Defaults: CleanRL's, but for the learning rate.

    At CleanRL's 2.5e-4 the mean of CartPole-v1's seeds is fair and their tail is not:
    20 seeds of 500k steps end with an IQM of 468 and a CVaR(25 %) of 298; at 5e-4
    with 500 and 488.

    Raises:
      ValueError: a field is out of its range, or two contradict each other; one line
        with fields, rule and value.
    """

    total_timesteps: int = field(
        500_000,
        POSITIVE,
        "Environment steps of one run (rounded down to whole updates).",
    )
    num_envs: int = field(4, POSITIVE, "Parallel environments of one run.")
    num_steps: int = field(128, POSITIVE, "Steps per environment and update.")
    num_epochs: int = field(4, POSITIVE, "Passes over the batch in an update.")
    num_minibatches: int = field(4, POSITIVE, "Minibatches of one epoch.")
    learning_rate: float = field(5e-4, NON_NEGATIVE, "Adam's step size.")
    anneal_lr: bool = field(True, ANY, "Decay the learning rate linearly to 0.")
    adam_eps: float = field(1e-5, POSITIVE, "Adam's epsilon.")
    max_grad_norm: float | None = field(
        0.5, POSITIVE, "Clip of the gradient's global norm."
    )
    gamma: float = field(0.99, FRACTION, "Discount.")
    gae_lambda: float = field(0.95, FRACTION, "GAE's lambda.")
    clip_eps: float | None = field(
        0.2, POSITIVE, "Clip of the probability ratio (none: no clip)."
    )
    vf_coef: float = field(0.5, NON_NEGATIVE, "Weight of the value loss.")
    vf_clip_eps: float | None = field(
        None,
        POSITIVE,
        "Clip of the value's change, in units of what the critic learns.",
    )
    ent_coef: float = field(0.01, NON_NEGATIVE, "Weight of the entropy bonus.")
    normalize_advantage: str | None = choice(
        "minibatch", ("minibatch", "batch"), "Over what advantages are standardised."
    )
    normalize_observation: t.ObservationNormalization | None = field(
        None, ANY, "Standardise observations."
    )
    normalize_reward: t.RewardNormalization | t.RewardStandardization | None = field(
        None, ANY, "Scale rewards by the return's standard deviation, or standardise."
    )
    evaluation: t.EvaluationConfig | None = field(
        None, ANY, "Evaluate during training."
    )

    # Collection
    temperature: float | None = field(
        None,
        POSITIVE,
        "Temperature of sampling (none: 1); the ratio is then to the tempered policy, "
        "and no longer starts at 1.",
    )
    num_starts: int | None = field(
        None, POSITIVE, "Number of fixed starts of episodes (none: always new ones)."
    )
    transform_reward: t.RewardTransform | None = field(
        None, ANY, "Shift, scale, clip or take the sign of rewards."
    )
    frame_stack: int | None = field(
        None, POSITIVE, "Number of last observations that are seen at once."
    )
    sequence_length: int | None = field(
        None,
        POSITIVE,
        "Steps of the sequences that a policy with a memory learns from (none: "
        "num_steps).",
    )

    # Advantages and targets
    advantage: t.OneStep | t.NStep | t.RewardToGo | t.EpisodeReturn | None = field(
        None, ANY, "Estimator of the advantage (off: GAE)."
    )
    target: t.OneStep | t.NStep | t.MonteCarlo | None = field(
        None, ANY, "Target of the critic (off: GAE + value)."
    )
    truncation: str = choice(
        "final_obs",
        ("final_obs", "current_value", "drop", "none"),
        "Bootstrap of a cut episode: its last observation's value, that of the one "
        "before, none and the step dropped, or none as if it had terminated.",
    )
    recompute_advantages: bool = field(
        False, ANY, "Values, advantages and targets anew before each epoch."
    )
    shuffle: str = choice(
        "transitions",
        ("transitions", "trajectories", "none"),
        "What is shuffled into minibatches (with a memory: whole sequences).",
    )
    advantage_eps: float = field(
        1e-8, NON_NEGATIVE, "Added to the advantages' standard deviation."
    )
    advantage_min_std: float | None = field(
        None, POSITIVE, "Lower bound of it, in place of advantage_eps."
    )
    scale_advantage: t.ConstantScale | t.MeanAbsolute | None = field(
        None, ANY, "Divide advantages by a scale, without centring."
    )

    # Trust region
    anneal_clip: bool = field(
        False, ANY, "Decay clip_eps, but not vf_clip_eps, linearly to 0."
    )
    dual_clip: float | None = field(None, ABOVE_1, "Bound c of the loss where A < 0.")
    kl_penalty: t.KLPenalty | None = field(None, ANY, "Penalty on KL(old ‖ new).")
    kl_stop: t.KLStop | None = field(None, ANY, "End an update where the KL is high.")
    kl_learning_rate: t.KLLearningRate | None = field(
        None, ANY, "Adapt the learning rate to the KL."
    )
    trpo: t.TRPO | None = field(None, ANY, "TRPO's constrained step for the policy.")

    # Critic
    vf_clip_mode: str = choice(
        "max",
        ("max", "clipped", "error"),
        "Worse of both losses (ppo2), the clipped one (SB3), or a bound on the error "
        "(RLlib).",
    )
    vf_half: bool = field(True, ANY, "Whether the value loss has its factor 1/2.")
    vf_huber: float | None = field(
        None, POSITIVE, "Huber's delta (none: squared error)."
    )
    normalize_value: (
        t.RunningStd | t.RunningMeanStd | t.MovingMeanStd | t.PopArt | None
    ) = field(None, ANY, "The critic learns normalised values.")
    transform_value: t.SignedHyperbolic | t.Symlog | None = field(
        None, ANY, "The critic learns squashed values."
    )
    critic_epochs: int | None = field(
        None, POSITIVE, "Epochs of the critic (none: as many as the actor's)."
    )
    critic_warmup: int | None = field(
        None,
        POSITIVE,
        "Updates at the run's start in which the actor is paused (a shared trunk is "
        "not).",
    )

    # Exploration
    ent_schedule: t.Linear | t.Exponential | t.Piecewise | t.EntropyTarget | None = (
        field(None, ANY, "How ent_coef changes (off: constant).")
    )

    # Gradients and optimizers
    min_learning_rate: float | None = field(
        None, NON_NEGATIVE, "Floor of the annealed learning rate."
    )
    clip_grad: (
        t.ClipNorm | t.ClipValue | t.IgnoreNorm | t.IgnoreValue | t.ClipMomentum | None
    ) = field(None, ANY, "Guard against large gradients, before max_grad_norm.")
    grad_scope: str = choice(
        "joint",
        ("joint", "group"),
        "Of what gradients norms are taken: all, or "
        "those of actor, critic and shared trunk apart.",
    )
    actor_optimizer: t.OptimizerGroup | None = field(None, ANY, "The actor's Adam.")
    critic_optimizer: t.OptimizerGroup | None = field(None, ANY, "The critic's Adam.")
    shared_optimizer: t.OptimizerGroup | None = field(
        None, ANY, "The shared trunk's Adam."
    )

    # Policy
    ratio: str = choice(
        "joint",
        ("joint", "factored"),
        "One probability ratio of a hybrid action, or one of each of its parts.",
    )
    bounds_loss: t.BoundsLoss | None = field(
        None, ANY, "Loss on a Gaussian's mean out of bounds."
    )
    network: NetworkConfig = field(NetworkConfig(), ANY, "The default network.")

    def __post_init__(self) -> None:
        check(self)
        for broken in _contradictions(self):
            raise ValueError(broken)

    @property
    def batch_size(self) -> int:
        """Environment steps of one update: num_envs * num_steps."""
        return self.num_envs * self.num_steps

    @property
    def minibatch_size(self) -> int:
        """Environment steps of one minibatch."""
        return self.batch_size // self.num_minibatches

    @property
    def num_sequences(self) -> int:
        """Sequences of one update, where a policy with a memory learns from them."""
        return self.batch_size // (self.sequence_length or self.num_steps)

    @property
    def num_updates(self) -> int:
        """Updates of one run: whole batches in total_timesteps."""
        return self.total_timesteps // self.batch_size

    @property
    def has_groups(self) -> bool:
        """Whether actor and critic each have an optimizer of their own."""
        groups = self.actor_optimizer, self.critic_optimizer, self.shared_optimizer
        own = any(group is not None for group in groups)
        return own or self.grad_scope == "group" or self.pauses_a_part

    @property
    def pauses_a_part(self) -> bool:
        """Whether actor or critic ever learns without the other."""
        stops = self.kl_stop is not None and self.kl_stop.scope == "policy"
        epochs = self.critic_epochs not in (None, self.num_epochs)
        return stops or epochs or self.trpo is not None or bool(self.critic_warmup)


SECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "advantages and targets": (
            "advantage",
            "target",
            "truncation",
            "recompute_advantages",
            "shuffle",
            "sequence_length",
            "advantage_eps",
            "advantage_min_std",
            "scale_advantage",
        ),
        "trust region": (
            "anneal_clip",
            "dual_clip",
            "kl_penalty",
            "kl_stop",
            "kl_learning_rate",
            "trpo",
        ),
        "critic": (
            "vf_clip_mode",
            "vf_half",
            "vf_huber",
            "normalize_value",
            "transform_value",
            "critic_epochs",
            "critic_warmup",
        ),
        "exploration": ("ent_schedule", "temperature", "num_starts"),
        "gradients and optimizers": (
            "min_learning_rate",
            "clip_grad",
            "grad_scope",
            "actor_optimizer",
            "critic_optimizer",
            "shared_optimizer",
        ),
        "policy and network": ("ratio", "bounds_loss", "network"),
        "observations, rewards, evaluation": (
            "frame_stack",
            "normalize_observation",
            "normalize_reward",
            "transform_reward",
            "evaluation",
        ),
    }
)
"""Section of a help text -> fields; those in none are the common ones."""

EXCLUDES = (
    ("trpo", "clip_eps"),
    ("trpo", "kl_penalty"),
    ("trpo", "kl_stop"),
    ("trpo", "kl_learning_rate"),
    ("trpo", "actor_optimizer"),
    ("trpo", "network.shared"),
    ("trpo", "critic_warmup"),
    ("kl_learning_rate", "anneal_lr"),
    ("normalize_value", "transform_value"),
    ("scale_advantage", "normalize_advantage"),
    ("bounds_loss", "network.tanh_mean"),
    ("trpo", "network.autoregressive"),
    ("kl_penalty", "network.autoregressive"),
    ("bounds_loss", "network.autoregressive"),
    ("temperature", "kl_stop"),
    ("temperature", "kl_learning_rate"),
    ("kl_learning_rate", "actor_optimizer.learning_rate"),
)
"""Pairs of fields of which at most one may be on."""

NEEDS = (
    ("dual_clip", "clip_eps"),
    ("anneal_clip", "clip_eps"),
    ("min_learning_rate", "anneal_lr"),
    ("advantage_min_std", "normalize_advantage"),
    ("shared_optimizer", "network.shared"),
)
"""Pairs of fields of which the first makes no sense without the second."""


def _contradictions(config: Config) -> Iterator[str]:
    """One line for each rule that holds between fields and is broken."""
    for one, other in EXCLUDES:
        if _is_on(config, one) and _is_on(config, other):
            yield f"Expected at most one of {one} and {other}, got both{_hint(other)}."
    for one, other in NEEDS:
        if _is_on(config, one) and not _is_on(config, other):
            yield f"Expected {one} only together with {other}, got it alone."
    yield from _size_rules(config)
    yield from _technique_rules(config)
    yield from _order_rules(config)


def _hint(name: str) -> str:
    """What to do about a field that is on without having been asked for."""
    default = {field.name: field.default for field in dataclasses.fields(Config)}
    if default.get(name) in (None, False):
        return ""
    return f"; set {name} to {'false' if default[name] is True else 'none'}"


def _size_rules(config: Config) -> Iterator[str]:
    size, parts = f"num_envs * num_steps = {config.batch_size}", config.num_minibatches
    if config.batch_size % parts:
        yield f"Expected num_minibatches to divide {size}, got {parts}."
    if config.total_timesteps < config.batch_size:
        yield (
            f"Expected total_timesteps to be at least one batch, {size}, got "
            f"{config.total_timesteps}."
        )
    whole = config.shuffle == "trajectories" and not config.network.memory
    if whole and config.num_envs % parts:
        yield (
            f"Expected num_minibatches to divide num_envs = {config.num_envs} with "
            f"shuffle = trajectories, got {parts}."
        )
    length = config.sequence_length or config.num_steps
    if config.num_steps % length:
        yield (
            f"Expected sequence_length to divide num_steps = {config.num_steps}, got "
            f"{length}."
        )
    elif config.network.memory and config.num_sequences % parts:
        yield (
            f"Expected num_minibatches to divide the {config.num_sequences} sequences "
            f"of num_envs * num_steps / sequence_length, got {parts}."
        )
    if config.critic_warmup and config.critic_warmup >= config.num_updates:
        yield (
            f"Expected critic_warmup to be below the run's {config.num_updates} "
            f"updates, got {config.critic_warmup}."
        )


def _technique_rules(config: Config) -> Iterator[str]:
    norm, guard = config.max_grad_norm, config.clip_grad
    if config.vf_clip_mode != "max" and config.vf_clip_eps is None:
        yield "Expected vf_clip_mode only together with vf_clip_eps, got it alone."
    if isinstance(guard, t.ClipNorm) and norm is not None:
        yield (
            "Expected at most one of clip_grad.clip_norm and max_grad_norm, got both"
            f"{_hint('max_grad_norm')}."
        )
    if config.grad_scope == "group" and norm is None and guard is None:
        yield "Expected grad_scope only with max_grad_norm or clip_grad, got it alone."
    if isinstance(config.ent_schedule, t.EntropyTarget) and _is_zero(config.ent_coef):
        yield "Expected ent_coef to be > 0 with ent_schedule.entropy_target, got 0."
    if isinstance(config.network.sigma, t.ScheduledSigma) and _is_on(
        config, "actor_optimizer.weight_decay"
    ):
        yield (
            "Expected at most one of network.sigma.scheduled_sigma and "
            "actor_optimizer.weight_decay, got both."
        )
    fixed = isinstance(config.network.sigma, t.FixedSigma | t.ScheduledSigma)
    if isinstance(config.ent_schedule, t.EntropyTarget) and fixed:
        yield (
            "Expected ent_schedule.entropy_target only with a standard deviation that "
            "is learned, got network.sigma fixed or scheduled."
        )
    if config.network.shared and config.kl_stop and config.kl_stop.scope == "policy":
        yield (
            "Expected kl_stop.scope to be all with network.shared, whose critic moves "
            "the policy, got 'policy'."
        )
    if config.network.policy == "beta":
        for name in ("network.sigma", "network.tanh_mean", "bounds_loss"):
            if _is_on(config, name):
                yield f"Expected {name} to be off with network.policy = beta, got both."


ORDERED = (
    ("", "min_learning_rate", "learning_rate"),
    ("transform_reward", "low", "high"),
    ("kl_penalty", "low", "high"),
    ("kl_penalty", "min", "max"),
    ("kl_learning_rate", "low", "high"),
    ("kl_learning_rate", "min", "max"),
    ("network.sigma", "low", "high"),
)
"""Techniques with a field that must be below another."""


def _order_rules(config: Config) -> Iterator[str]:
    for name, low, high in ORDERED:
        names = [f"{name}.{bound}".lstrip(".") for bound in (low, high)]
        bounds = [_value(config, bound) for bound in names]
        known = not any(x is None or hasattr(x, "aval") for x in bounds)
        if known and not bounds[0] < bounds[1]:
            yield f"Expected {' < '.join(names)}, got {bounds[0]} and {bounds[1]}."


def _is_on(config: Config, name: str) -> bool:
    value = _value(config, name)
    empty = isinstance(value, tuple) and not value
    return value is not None and value is not False and not empty


def _value(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _is_zero(value: Any) -> bool:
    return not hasattr(value, "aval") and value == 0
