"""Learning from one batch: epochs x minibatches as scans over rows of indices."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from purejaxppo.algorithm.advantages.targets import normalize
from purejaxppo.algorithm.learning.minibatches import draw_permutations
from purejaxppo.algorithm.learning.objective import (
    Diagnostics,
    Loss,
    Minibatch,
    actor_loss,
    critic_loss,
    joined,
)
from purejaxppo.algorithm.learning.optimizers import descend, hold_params, hold_state
from purejaxppo.algorithm.learning.schedules import follow_learning_rate
from purejaxppo.algorithm.shards import mean_over, own
from purejaxppo.config.config import Config
from purejaxppo.config.techniques import KLLearningRate, KLStop
from purejaxppo.networks.actor_critic import Network, Params

BOTH, ACTOR, CRITIC = "both", "actor", "critic"
"""What a phase of an update trains."""


class Learner(NamedTuple):
    """What an update changes.

    `learning_rate` is carried where it follows the KL, and `stopped` where a high KL
    ends the update; `()` where they are off.
    """

    params: Params
    opt_state: Any
    learning_rate: Any = ()
    stopped: Any = ()


class Lesson(NamedTuple):
    """What an update learns by, the same for all its minibatches.

    Attributes:
      config: with the numbers of this update.
      network: what is trained.
      loss: of actor and critic together.
      optimizer: gives a direction, see `make_optimizer`.
      groups: params -> label of each leaf, where actor and critic have optimizers of
        their own, else `None`.
      warming_up: whether the actor is paused in this update; `None` where never.
      finished: whether the planned updates are over, so that the learning rate no
        longer follows the KL; `None` where it never does.
      refresh: params -> batch with new estimates, where each epoch begins with them.
      axis_name: of the shards, each of which learns from its own part of a minibatch;
        `None` where there is one.
    """

    config: Config
    network: Network
    loss: Loss
    optimizer: optax.GradientTransformation
    groups: Callable[[Params], Any] | None = None
    warming_up: jax.Array | None = None
    finished: jax.Array | None = None
    refresh: Callable[[Params], Minibatch] | None = None
    axis_name: str | None = None


class Report(NamedTuple):
    """What was seen while learning; `stopped` is `()` where nothing stops."""

    diagnostics: Diagnostics
    grad_norm: Any
    stopped: Any = ()


def update(
    key: jax.Array, learner: Learner, batch: Minibatch, lesson: Lesson
) -> tuple[Learner, Report]:
    """Learn from a batch `[num_envs * num_steps, ...]` in epochs of minibatches.

    Where the network has a memory, the batch is one of sequences `[S, L, ...]`, and so
    are the minibatches.

    Returns:
      The learner, and the means over minibatches of what each reported: diagnostics,
      the gradient's global norm before any clipping, and whether learning had stopped
      (the least and the greatest ratio are those over all minibatches).
    """
    config = lesson.config
    plan = phases(config)
    num_epochs = sum(num_epochs for _, num_epochs in plan)
    if batch.memory is None:
        rows = minibatch_rows(key, config, num_epochs)
    else:
        rows = sequence_rows(key, config, num_epochs)
    if config.normalize_advantage == "batch" and lesson.refresh is None:
        batch = _normalized(config, batch)
    reports, start = [], 0
    for phase, num_epochs in plan:
        epoch = partial(_epoch, lesson, phase, batch)
        learner, seen = jax.lax.scan(epoch, learner, rows[start : start + num_epochs])
        reports.append(seen)
        start += num_epochs
    return learner, summarize(reports)


def phases(config: Config) -> list[tuple[str, int]]:
    """What is trained for how many epochs: both, then whichever has epochs left."""
    actor = 0 if config.trpo else config.num_epochs
    critic = config.critic_epochs or config.num_epochs
    both = min(actor, critic)
    plan = [(BOTH, both), (ACTOR, actor - both), (CRITIC, critic - both)]
    return [(phase, num_epochs) for phase, num_epochs in plan if num_epochs]


def minibatch_rows(key: jax.Array, config: Config, num_epochs: int) -> jax.Array:
    """Indices of every minibatch, `[num_epochs, num_minibatches, minibatch_size]`.

    Each epoch uses each sample once: in a random order; by whole environments, each
    with its steps in order; or always as they came, `[T, N]` flattened.
    """
    shape = num_epochs, config.num_minibatches, config.minibatch_size
    if config.shuffle == "none":
        return jnp.broadcast_to(
            jnp.arange(config.batch_size).reshape(1, *shape[1:]), shape
        )
    if config.shuffle == "transitions":
        order = draw_permutations(key, num_epochs, config.batch_size)
        return order.reshape(shape)
    # Sorted: of few, `draw_permutations` does not reach every order alike.
    envs = jnp.argsort(jax.random.bits(key, (num_epochs, config.num_envs)), axis=1)
    envs = envs.reshape(num_epochs, config.num_minibatches, -1, 1)
    steps = jnp.arange(config.num_steps).reshape(1, 1, 1, -1)
    return (steps * config.num_envs + envs).reshape(shape)


def sequence_rows(key: jax.Array, config: Config, num_epochs: int) -> jax.Array:
    """Indices of sequences, `[num_epochs, num_minibatches, sequences]`; see above."""
    size = num_epochs, config.num_sequences
    if config.shuffle == "none":
        order = jnp.broadcast_to(jnp.arange(size[1])[None], size)
    else:
        order = jnp.argsort(jax.random.bits(key, size), axis=1)
    return order.reshape(num_epochs, config.num_minibatches, -1)


def _normalized(
    config: Config, batch: Minibatch, axis_name: str | None = None
) -> Minibatch:
    advantage = normalize(config, batch.advantage, batch.weight, axis_name)
    return batch._replace(advantage=advantage)


def _epoch(
    lesson: Lesson, phase: str, batch: Minibatch, learner: Learner, rows: jax.Array
) -> tuple[Learner, Report]:
    config = lesson.config
    if lesson.refresh is not None:
        batch = lesson.refresh(learner.params)
        if config.normalize_advantage == "batch":
            batch = _normalized(config, batch)
    still = _policy_still(lesson, learner.stopped)
    learn = partial(_learn, lesson, phase, batch)
    learner, report = jax.lax.scan(learn, learner, rows)
    if phase == CRITIC:
        return learner, report
    seen = report.diagnostics
    stopped = stops(config.kl_stop, "epoch", learner.stopped, seen)
    rate = adapt(lesson, "epoch", learner.learning_rate, seen, still)
    return learner._replace(stopped=stopped, learning_rate=rate), report


def _learn(
    lesson: Lesson, phase: str, batch: Minibatch, learner: Learner, row: jax.Array
) -> tuple[Learner, Report]:
    config, axis_name = lesson.config, lesson.axis_name
    row = own(row, axis_name)
    minibatch = joined(jax.tree.map(lambda x: x[row], batch))
    if config.normalize_advantage == "minibatch":
        minibatch = _normalized(config, minibatch, axis_name)
    objective = partial(_objective, lesson, phase, learner.stopped)
    grads, (diagnostics, stopped) = jax.grad(objective, has_aux=True)(
        learner.params, minibatch
    )
    grads = mean_over(grads, minibatch.weight, axis_name)
    direction, opt_state = lesson.optimizer.update(
        grads, learner.opt_state, learner.params
    )
    rates, labels = learning_rates(lesson, learner), _labels(lesson, grads)
    params = descend(learner.params, direction, rates, labels)
    after = Learner(params, opt_state, learner.learning_rate, stopped)
    after = _hold(lesson, phase, learner, after)
    if phase != CRITIC:
        still = _policy_still(lesson, learner.stopped)
        rate = adapt(lesson, "minibatch", learner.learning_rate, diagnostics, still)
        after = after._replace(learning_rate=rate)
    return after, Report(diagnostics, optax.tree.norm(grads), stopped)


def _objective(
    lesson: Lesson, phase: str, stopped: Any, params: Params, batch: Minibatch
) -> tuple[jax.Array, tuple[Diagnostics, Any]]:
    """The loss of a phase, with its diagnostics and whether learning has stopped.

    The loss is that of this shard's samples, and the rest is of all shards'.
    """
    config, network = lesson.config, lesson.network
    of_all = partial(over_shards, weight=batch.weight, axis_name=lesson.axis_name)
    if phase == CRITIC:
        value_loss = critic_loss(config, network, params, batch)
        blank = Diagnostics((), value_loss, (), (), ())
        return config.vf_coef * value_loss, (of_all(blank), stopped)
    if not config.pauses_a_part:
        loss, diagnostics = lesson.loss(config, network, params, batch)
        diagnostics = of_all(diagnostics)
        stopped = stops(config.kl_stop, "minibatch", stopped, diagnostics)
        return loss, (diagnostics, stopped)
    loss, diagnostics = actor_loss(config, network, params, batch)
    diagnostics = of_all(diagnostics)
    stopped = stops(config.kl_stop, "minibatch", stopped, diagnostics)
    paused = _actor_paused(lesson, stopped)
    if paused is not None:
        loss = jnp.where(paused, 0, loss)
    if phase == BOTH:
        value_loss = critic_loss(config, network, params, batch)
        loss = loss + config.vf_coef * value_loss
        blank = Diagnostics((), value_loss, (), (), ())
        diagnostics = diagnostics._replace(value_loss=of_all(blank).value_loss)
    return loss, (diagnostics, stopped)


# --- What a high KL does ------------------------------------------------------------


def stops(rule: KLStop | None, at: str, stopped: Any, diagnostics: Diagnostics) -> Any:
    """Whether learning has stopped, after a look at the KL if this is the time for it.

    d > factor · target, d the KL's estimate so far in this update.
    """
    if rule is None or rule.at != at:
        return stopped
    return stopped | (estimated_kl(rule, diagnostics) > rule.factor * rule.target)


def adapt(
    lesson: Lesson,
    at: str,
    learning_rate: Any,
    diagnostics: Diagnostics,
    still: jax.Array | None,
) -> Any:
    """The learning rate after a look at the KL, if this is the time for it.

    The KL of a policy that stood `still` says nothing of the rate.
    """
    rule = lesson.config.kl_learning_rate
    if rule is None or rule.at != at:
        return learning_rate
    rate = follow_learning_rate(rule, learning_rate, estimated_kl(rule, diagnostics))
    for held in (still, lesson.finished):
        rate = rate if held is None else jnp.where(held, learning_rate, rate)
    return rate


def estimated_kl(rule: KLStop | KLLearningRate, diagnostics: Diagnostics) -> jax.Array:
    """The estimate of KL(old ‖ new) that a rule looks at; an epoch's mean."""
    name = {"k1": "kl_k1", "k2": "kl_k2", "k3": "approx_kl"}[rule.estimator]
    estimate = getattr(diagnostics, name)
    if isinstance(estimate, tuple):
        raise ValueError(
            f"Expected the loss's diagnostics to have {name}, which the estimator "
            f"{rule.estimator} of the KL needs, got none."
        )
    return jnp.mean(estimate)


def _policy_still(lesson: Lesson, stopped: Any) -> jax.Array | None:
    """Whether the policy does not move; `None` where nothing can hold it."""
    if lesson.config.kl_stop is None:
        return lesson.warming_up
    return stopped if lesson.warming_up is None else stopped | lesson.warming_up


def _actor_paused(lesson: Lesson, stopped: Any) -> jax.Array | None:
    """Whether only the critic learns; `None` where nothing can pause the actor."""
    rule = lesson.config.kl_stop
    if rule is None or rule.scope != "policy":
        return lesson.warming_up
    return _policy_still(lesson, stopped)


def _hold(lesson: Lesson, phase: str, before: Learner, after: Learner) -> Learner:
    """`after`, but for what is paused: that stays as it was, momentum included."""
    rule = lesson.config.kl_stop
    if rule is not None and rule.scope == "all":
        held = jax.tree.map(
            lambda old, new: jnp.where(after.stopped, old, new),
            (before.params, before.opt_state),
            (after.params, after.opt_state),
        )
        after = after._replace(params=held[0], opt_state=held[1])
    actor = _actor_paused(lesson, after.stopped)
    paused = {
        BOTH: {"actor": actor},
        ACTOR: {"critic": True, "actor": actor, "shared": actor},
        CRITIC: {"actor": True},
    }[phase]
    if all(flag is None for flag in paused.values()):
        return after
    labels = _labels(lesson, before.params)
    return after._replace(
        params=hold_params(after.params, before.params, labels, paused),
        opt_state=hold_state(after.opt_state, before.opt_state, paused),
    )


# --- Learning rates -----------------------------------------------------------------


def learning_rates(lesson: Lesson, learner: Learner) -> Any:
    """The learning rate, or that of each group of parameters by its label."""
    config = lesson.config
    common = config.learning_rate
    if config.kl_learning_rate is not None:
        common = learner.learning_rate
    if not config.has_groups:
        return common
    groups = {
        "actor": config.actor_optimizer,
        "critic": config.critic_optimizer,
        "shared": config.shared_optimizer,
    }
    own = {k: g.learning_rate for k, g in groups.items() if g is not None}
    return {k: common if own.get(k) is None else own[k] for k in groups}


def _labels(lesson: Lesson, params: Params) -> Any:
    return None if lesson.groups is None else lesson.groups(params)


# --- Summary ------------------------------------------------------------------------


def over_shards(
    seen: Diagnostics, weight: jax.Array | None, axis_name: str | None
) -> Diagnostics:
    """Diagnostics of all shards' samples, of those of each shard's; see `mean_over`.

    σ² = E[σᵢ² + (μᵢ − 1)²] − (μ − 1)² of ratios: they are near 1, and squares of what
    is far from 0 would leave little of a small variance.

    Raises:
      ValueError: an own loss gives the ratio's deviation without its mean.
    """
    if axis_name is None:
        return seen
    spread = not isinstance(seen.ratio_std, tuple)
    if spread and isinstance(seen.ratio_mean, tuple):
        raise ValueError(
            "Expected the loss's diagnostics to have ratio_mean with ratio_std, for "
            "shards to make one of theirs, got none."
        )
    seen = jax.lax.stop_gradient(seen)
    means = seen._replace(ratio_min=(), ratio_max=())
    if spread:
        square = jnp.square(seen.ratio_std) + jnp.square(seen.ratio_mean - 1)
        means = means._replace(ratio_std=square)
    means = mean_over(means, weight, axis_name)
    if spread:
        variance = means.ratio_std - jnp.square(means.ratio_mean - 1)
        means = means._replace(ratio_std=jnp.sqrt(jnp.maximum(variance, 0)))
    return means._replace(
        ratio_min=jax.lax.pmin(seen.ratio_min, axis_name),
        ratio_max=jax.lax.pmax(seen.ratio_max, axis_name),
    )


def summarize(reports: list[Report]) -> Report:
    """One report of many, `[epochs, minibatches]` of each phase."""

    def over_phases(name: str, parts: list[Any]) -> Any:
        parts = [x.reshape(-1) for x in parts if not isinstance(x, tuple)]
        if not parts:
            return ()
        reduce = {"ratio_min": jnp.min, "ratio_max": jnp.max}.get(name, jnp.mean)
        return reduce(jnp.concatenate(parts) if len(parts) > 1 else parts[0])

    diagnostics = {
        name: over_phases(name, [getattr(r.diagnostics, name) for r in reports])
        for name in Diagnostics._fields
    }
    return Report(
        diagnostics=Diagnostics(**diagnostics),
        grad_norm=over_phases("grad_norm", [r.grad_norm for r in reports]),
        stopped=over_phases("stopped", [r.stopped for r in reports]),
    )
