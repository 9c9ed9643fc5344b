"""One update's learning, from a rollout's steps to new parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.advantages.targets import (
    Estimates,
    estimate,
    follow_advantages,
    normalize,
    scale_advantage,
)
from purejaxppo.algorithm.components import Parts
from purejaxppo.algorithm.learning.epochs import Learner, Lesson, Report, update
from purejaxppo.algorithm.learning.loss_terms import mean
from purejaxppo.algorithm.learning.natural_gradient import natural_gradient_step
from purejaxppo.algorithm.learning.objective import (
    Minibatch,
    actor_loss,
    joined,
    policy_of,
)
from purejaxppo.algorithm.learning.schedules import Adaptive, follow_entropy, follow_kl
from purejaxppo.algorithm.learning.sequences import (
    split,
    split_memory,
    starts,
    unjoin,
)
from purejaxppo.algorithm.normalization.value_maps import popart_scale
from purejaxppo.algorithm.normalization.values import (
    follow_targets,
    mean_and_std,
    value_map,
)
from purejaxppo.algorithm.rollouts import Transition, flat
from purejaxppo.algorithm.shards import gather, gather_flat, own, own_flat
from purejaxppo.config.config import Config
from purejaxppo.config.techniques import EntropyTarget, PopArt
from purejaxppo.networks.actor_critic import Network, Params
from purejaxppo.networks.memory import Memory, has_memory, init_memory, unroll_critic
from purejaxppo.networks.recurrent import forget


class Learned(NamedTuple):
    """What learning carries from update to update; `()` where a part is off."""

    params: Params
    opt_state: Any
    critic_scale: Any
    advantage_scale: Any
    adaptive: Adaptive
    critic_memory: Any = ()


class Batch(NamedTuple):
    """A rollout as it is learned from: flat `[T * N]` but for `steps` `[T, N]`.

    `memory` is that of actor and critic before the first step, `[N, ...]`. Each shard
    has all this of all shards, but `next_obs` of its own environments only.
    """

    obs: Any
    next_obs: Any
    steps: Transition
    memory: Memory = Memory()


class Foresight(NamedTuple):
    """What the critic makes of a rollout: outputs `[T * N]`, and what it remembers.

    `memories` are its memories before each step, `[T, N, ...]`, `memory` that after the
    last one; `()` without a memory.
    """

    value: jax.Array
    next_value: jax.Array
    memories: Any = ()
    memory: Any = ()


def learn(
    key: jax.Array,
    parts: Parts,
    config: Config,
    number: jax.Array,
    before: Learned,
    batch: Batch,
) -> tuple[Learned, Report, Minibatch]:
    """Learn from one rollout.

    Args:
      key: consumed.
      parts: network, loss, optimizer.
      config: with the numbers of this update.
      number: the update's.
      before: what the last update left.
      batch: what was collected, with the rewards to learn from.

    Returns:
      What this update leaves, its report, and all that was learned from.
    """
    seen = foresee(parts, config, batch, before.params)
    found = _estimate(config, before.critic_scale, batch, seen)
    learned, minibatch = _prepare(parts, config, before, batch, found, seen)
    learned = learned._replace(critic_memory=seen.memory)
    learned, trpo_report = _trust_region_step(parts, config, learned, minibatch)
    lesson = Lesson(
        config=config,
        network=parts.network,
        loss=parts.loss,
        optimizer=parts.optimizer,
        groups=parts.groups,
        warming_up=number < config.critic_warmup if config.critic_warmup else None,
        finished=number >= config.num_updates if config.kl_learning_rate else None,
        refresh=_refresher(parts, config, learned, batch, minibatch),
        axis_name=parts.axis_name,
    )
    learner = Learner(
        params=learned.params,
        opt_state=learned.opt_state,
        learning_rate=learned.adaptive.learning_rate,
        stopped=() if config.kl_stop is None else jnp.bool_(False),
    )
    learner, report = update(key, learner, minibatch, lesson)
    report = _merged(trpo_report, report)
    policy_kl = _policy_kl(parts, config, learner.params, minibatch)
    adaptive = _follow(parts, config, learned.adaptive, learner, report, policy_kl)
    if jax.tree.leaves(adaptive):
        stay = number >= config.num_updates  # As schedules do after their end.
        if lesson.warming_up is not None:  # A policy that stands says nothing of them.
            stay |= lesson.warming_up
        adaptive = jax.tree.map(partial(jnp.where, stay), learned.adaptive, adaptive)
    learned = learned._replace(
        params=learner.params, opt_state=learner.opt_state, adaptive=adaptive
    )
    return learned, report, minibatch


def foresee(parts: Parts, config: Config, batch: Batch, params: Params) -> Foresight:
    """The critic's outputs of a rollout, and of what followed each step.

    The observation that follows the last step of an episode is seen with the memory of
    that episode, not with the next one's. Shards look at their own environments each.
    """
    axis_name, num_steps = parts.axis_name, config.num_steps
    mine = batch._replace(
        obs=own_flat(batch.obs, axis_name, num_steps),
        steps=own(batch.steps, axis_name, axis=1),
        memory=own(batch.memory, axis_name),
    )
    seen = _foresee(parts, config, mine, params)
    seen = Foresight(
        value=gather_flat(seen.value, axis_name, num_steps),
        next_value=gather_flat(seen.next_value, axis_name, num_steps),
        memories=gather(seen.memories, axis_name, axis=1),
        memory=gather(seen.memory, axis_name),
    )
    check_shape("network.critic's values", seen.value, config)
    return seen


def _foresee(parts: Parts, config: Config, batch: Batch, params: Params) -> Foresight:
    """`foresee` of one shard's environments."""
    network = parts.network
    if not jax.tree.leaves(batch.memory.critic):
        value = _values(network, config, params, batch.obs)
        return Foresight(value, _values(network, config, params, batch.next_obs))
    done = batch.steps.terminated | batch.steps.truncated
    reset, first = starts(done).reshape(-1), batch.memory.critic
    value, after = unroll_critic(network, params, batch.obs, reset, first)
    next_value, _ = network.critic(params, batch.next_obs, flat(after))
    initial = own(init_memory(network, config.num_envs).critic, parts.axis_name)
    then = jax.vmap(forget, in_axes=(0, None, 0))(after, initial, done)
    memories = jax.tree.map(
        lambda m, x: jnp.concatenate([m[None], x[:-1]]), first, then
    )
    memory = jax.tree.map(lambda x: x[-1], then)
    return Foresight(value, next_value, memories=memories, memory=memory)


def _values(network: Network, config: Config, params: Params, obs: Any) -> jax.Array:
    """The critic's outputs `[T * N]`; a minibatch at a time where it sees images.

    The convolutions of a whole rollout at once would take many times its memory.
    """
    if config.network.conv is None:
        return network.critic(params, obs, ())[0]
    blocks = jax.tree.map(
        lambda x: x.reshape(config.num_minibatches, -1, *x.shape[1:]), obs
    )
    return jax.lax.map(lambda x: network.critic(params, x, ())[0], blocks).reshape(-1)


def _estimate(
    config: Config, critic_scale: Any, batch: Batch, seen: Foresight
) -> Estimates:
    values = value_map(config, critic_scale)
    return estimate(config, (seen.value, seen.next_value), values, batch.steps)


def check_shape(name: str, x: jax.Array, config: Config) -> None:
    """Refuse `[batch, 1]`, which would broadcast against `[batch]` without a word.

    Raises:
      ValueError: it is of another shape.
    """
    if x.shape != (config.batch_size,):
        raise ValueError(f"Expected {name} to be of shape [batch], got {x.shape}.")


def check_policy(policy: Any, config: Config) -> None:
    """Refuse an action distribution that cannot be compared with another, by row.

    Raises:
      ValueError: it has no KL, or an array without the batch's axis.
    """
    shapes = [jnp.shape(x) for x in jax.tree.leaves(policy)]
    rows = all(shape[:1] == (config.batch_size,) for shape in shapes)
    if not hasattr(policy, "kl_divergence") or not shapes or not rows:
        raise ValueError(
            f"Expected network.actor's distribution to have a kl_divergence and arrays "
            f"[batch, ...], for kl_penalty or trpo, got {type(policy).__name__}."
        )


def _prepare(
    parts: Parts,
    config: Config,
    before: Learned,
    batch: Batch,
    found: Estimates,
    seen: Foresight,
) -> tuple[Learned, Minibatch]:
    """Scales that have seen the estimates, and the whole batch in their units.

    With a memory, the batch is cut into sequences `[S, L, ...]`.
    """
    learned = before._replace(
        critic_scale=follow_targets(
            config, before.critic_scale, found.target, found.weight
        ),
        advantage_scale=follow_advantages(config, before.advantage_scale, found),
    )
    if isinstance(config.normalize_value, PopArt):
        old, new = (mean_and_std(config, x.critic_scale) for x in (before, learned))
        rescale: Callable[..., Params] = parts.network.rescale  # pyright: ignore[reportAttributeAccessIssue]
        learned = learned._replace(
            params=rescale(learned.params, *popart_scale(*old, *new))
        )
    steps = batch.steps
    log_prob = flat(steps.log_prob)
    one = log_prob if config.ratio == "joint" else log_prob[:, 0]
    check_shape("the action distribution's log_prob", one, config)
    minibatch = Minibatch(
        obs=batch.obs,
        action=flat(steps.action),
        log_prob=log_prob,
        value=found.value,
        advantage=found.advantage,
        target=found.target,
    )
    if has_memory(parts.network):
        minibatch = _into_sequences(config, minibatch, batch, seen)
    if config.kl_penalty is not None or config.trpo is not None:
        policy = policy_of(parts.network, learned.params, joined(minibatch))
        check_policy(policy, config)
        if minibatch.memory is not None:
            policy = unjoin(policy, config.batch_size // config.num_sequences)
        minibatch = minibatch._replace(policy=policy)
    return learned, _in_units(config, learned, minibatch, found)


def _into_sequences(
    config: Config, minibatch: Minibatch, batch: Batch, seen: Foresight
) -> Minibatch:
    """A flat batch cut into sequences, with the memories before each of them."""
    length = config.batch_size // config.num_sequences
    done = batch.steps.terminated | batch.steps.truncated
    whole = minibatch._replace(reset=starts(done).reshape(-1))
    memory = batch.memory
    if length < config.num_steps:
        memories = Memory(actor=batch.steps.memory, critic=seen.memories)
        memory = split_memory(memories, length)
    return split(whole, config.num_steps, length)._replace(memory=memory)


def _in_units(
    config: Config, learned: Learned, minibatch: Minibatch, found: Estimates
) -> Minibatch:
    """A batch with estimates in the units that are learned in."""
    values = value_map(config, learned.critic_scale)
    encode = (lambda x: x) if values is None else values.encode
    found = found._replace(
        value=encode(found.value),
        advantage=scale_advantage(config, learned.advantage_scale, found.advantage),
        target=encode(found.target),
    )
    if minibatch.memory is not None:
        length = config.batch_size // config.num_sequences
        found = split(found, config.num_steps, length)
    return minibatch._replace(**found._asdict())


def _refresher(
    parts: Parts, config: Config, learned: Learned, batch: Batch, minibatch: Minibatch
) -> Callable[[Params], Minibatch] | None:
    """Params -> the batch with values, advantages and targets of the newest critic."""
    if not config.recompute_advantages:
        return None

    def refresh(params: Params) -> Minibatch:
        seen = foresee(parts, config, batch, params)
        found = _estimate(config, learned.critic_scale, batch, seen)
        return _in_units(config, learned, minibatch, found)

    return refresh


def _trust_region_step(
    parts: Parts, config: Config, learned: Learned, batch: Minibatch
) -> tuple[Learned, Any]:
    """TRPO's step of the policy on the whole batch; nothing where it is off."""
    rule = config.trpo
    if rule is None:
        return learned, ()
    batch = joined(batch)
    if config.normalize_advantage is not None:
        advantage = normalize(config, batch.advantage, batch.weight)
        batch = batch._replace(advantage=advantage)
    loss = partial(actor_loss, config, parts.network)

    def surrogate(params: Params) -> jax.Array:
        return loss(params, batch)[0]

    def kl(params: Params) -> jax.Array:
        return loss(params, batch)[1].policy_kl

    params, step = natural_gradient_step(
        learned.params,
        surrogate,
        kl,
        max_kl=rule.max_kl,
        num_iters=rule.num_iters,
        damping=rule.damping,
        num_backtracks=rule.num_backtracks,
        backtrack=rule.backtrack,
    )
    _, diagnostics = loss(params, batch)
    report = Report(diagnostics=diagnostics, grad_norm=step.grad_norm)
    return learned._replace(params=params), report


def _merged(trpo_report: Any, report: Report) -> Report:
    """The report of TRPO's policy step with that of the critic's epochs."""
    if isinstance(trpo_report, Report):
        value_loss = report.diagnostics.value_loss
        diagnostics = trpo_report.diagnostics._replace(value_loss=value_loss)
        return trpo_report._replace(diagnostics=diagnostics)
    return report


def _policy_kl(parts: Parts, config: Config, params: Params, batch: Minibatch) -> Any:
    """E[KL(old ‖ new)] of the whole update, where the penalty follows it."""
    if config.kl_penalty is None or not config.kl_penalty.adaptive:
        return ()
    batch = joined(batch)
    policy = policy_of(parts.network, params, batch)
    return mean(batch.policy.kl_divergence(policy), batch.weight)


def _follow(
    parts: Parts,
    config: Config,
    adaptive: Adaptive,
    learner: Learner,
    report: Report,
    policy_kl: Any,
) -> Adaptive:
    """The numbers that follow what this update did."""
    if config.kl_penalty is not None and config.kl_penalty.adaptive:
        kl_coef = follow_kl(config.kl_penalty, adaptive.kl_coef, policy_kl)
        adaptive = adaptive._replace(kl_coef=kl_coef)
    if isinstance(config.ent_schedule, EntropyTarget):
        log_ent_coef = follow_entropy(
            config.ent_schedule,
            adaptive.log_ent_coef,
            report.diagnostics.entropy,
            parts.entropy_target,
        )
        adaptive = adaptive._replace(log_ent_coef=log_ent_coef)
    return adaptive._replace(learning_rate=learner.learning_rate)
