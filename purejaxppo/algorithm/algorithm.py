"""PPO as a pair of pure functions, and whole training runs as a scan of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.advantages.targets import init_advantage_scale
from purejaxppo.algorithm.components import Parts, collecting_reset, make_parts
from purejaxppo.algorithm.evaluation import evaluate
from purejaxppo.algorithm.learning.epochs import Report
from purejaxppo.algorithm.learning.loss_terms import explained_variance
from purejaxppo.algorithm.learning.objective import Loss, Minibatch, log_prob
from purejaxppo.algorithm.learning.schedules import (
    Adaptive,
    at_update,
    init_adaptive,
    sigma_at,
)
from purejaxppo.algorithm.markers import missing
from purejaxppo.algorithm.normalization.rewards import init_reward_scale, shape_rewards
from purejaxppo.algorithm.normalization.running_statistics import (
    batch_statistics,
    init_statistics,
    merge,
    standardize,
)
from purejaxppo.algorithm.normalization.values import init_critic_scale
from purejaxppo.algorithm.rollouts import (
    Collector,
    Ended,
    Transition,
    flat,
    init_collector,
    rollout,
)
from purejaxppo.algorithm.shards import gather, num_shards, own
from purejaxppo.algorithm.update_step import Batch, Learned, learn
from purejaxppo.config.config import Config
from purejaxppo.config.techniques import ScheduledSigma
from purejaxppo.environments.protocol import Environment, EnvParams, make_step
from purejaxppo.environments.spaces import check_value, plain, split_mask_value
from purejaxppo.networks.actor_critic import Network, Params
from purejaxppo.networks.distributions import temper
from purejaxppo.networks.memory import Memory, check_memory, has_memory, init_memory


class TrainState(NamedTuple):
    """All that a run carries from update to update; arrays only, so it can be saved.

    What belongs to a technique that is off is `()`.
    """

    params: Params
    opt_state: Any
    collector: Collector
    obs_statistics: Any
    reward_scale: Any
    critic_scale: Any
    advantage_scale: Any
    adaptive: Adaptive
    update: jax.Array
    key: jax.Array
    critic_memory: Any = ()


PER_ENV = TrainState._make(name == "collector" for name in TrainState._fields)
"""Whether each part of a state has a leading axis of environments to be sharded by.

A prefix of its tree. What is not so sharded is the same in all shards.
"""


class Metrics(NamedTuple):
    """One update's figures, scalars; a run has them as `[num_updates]`.

    `episode_return` and `episode_length` are means over the `num_episodes` episodes
    that ended in the update, NaN where none did. `evaluation_return` and
    `evaluation_length` are NaN between evaluations, and `()` where evaluation is off.
    Where JAX stops at NaNs (`jax_debug_nans`), the least float32 is in the place of
    these NaNs.
    Losses and `grad_norm` (before clipping) are means over the minibatches, and
    `finite` says whether all parameters are. Those with a default are `()` where the
    technique that they belong to is off: `stopped` is the share of the minibatches
    that came after `kl_stop`, `kl_coef`, `ent_coef` and `clip_eps` are what the update
    was made with where they change, `num_fully_masked` is the number of steps at which
    the environment's action mask allowed nothing: always 0 of a sound environment.
    """

    episode_return: jax.Array
    episode_length: jax.Array
    num_episodes: jax.Array
    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array
    explained_variance: jax.Array
    grad_norm: jax.Array
    learning_rate: jax.Array
    finite: jax.Array
    kl_k1: Any = ()
    kl_k2: Any = ()
    ratio_mean: Any = ()
    ratio_std: Any = ()
    ratio_min: Any = ()
    ratio_max: Any = ()
    policy_kl: Any = ()
    stopped: Any = ()
    kl_coef: Any = ()
    ent_coef: Any = ()
    clip_eps: Any = ()
    num_fully_masked: Any = ()
    evaluation_return: Any = ()
    evaluation_length: Any = ()


class Result(NamedTuple):
    """A finished run: where it ended, and its metrics `[num_updates]`."""

    state: TrainState
    metrics: Metrics


class PPO(NamedTuple):
    """PPO on one environment as pure functions.

    Attributes:
      init: key -> TrainState.
      step: state -> (state, metrics), one update.
      act: (state, obs `[N, ...]`, memory, key) -> (action for the environment, memory
        after it); the distribution's mode without a key, a sample with one.
      init_memory: number of environments -> the memory to act with at an episode's
        start; `()` of a network without one.
      advance: (state, update) -> (state, metrics), `step` and then an evaluation if
        one is due after update number `update`. Where `update` is not batched by a
        vmap, an evaluation that is not due costs nothing.
      network: the network; acts and values with `state.params`.
      env: the environment as it is played, with stacked frames if there are any.
      num_updates: the planned updates; all are made once `state.update` is as many.
        After them `step` goes on with every schedule at its end: at a learning rate of
        0 where `anneal_lr` is on. To train on, take `make_ppo` with a larger
        `total_timesteps` and give its `step` the same state: the schedules then run to
        the new end.
    """

    init: Callable[[jax.Array], TrainState]
    step: Callable[[TrainState], tuple[TrainState, Metrics]]
    act: Callable[..., tuple[Any, Any]]
    init_memory: Callable[[int], Any]
    advance: Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]
    network: Network
    env: Environment
    num_updates: int


def make_ppo(
    config: Config,
    env: Any,
    env_params: EnvParams = None,
    *,
    network: Network | None = None,
    loss: Loss | None = None,
    axis_name: str | None = None,
) -> PPO:
    """PPO with `config` on `env`.

    Args:
      config: hyperparameters; floats may be traced.
      env: an `Environment`, or a raw gymnax environment.
      env_params: its parameters, may be traced; its defaults if None.
      network: any object with `init`, `actor` and `critic` in place of the default.
      loss: (config, network, params, minibatch) -> (scalar, diagnostics) in place of
        `ppo_loss`; means over samples, if there are shards.
      axis_name: a mesh axis over whose devices this one run is spread by environments;
        None if one device has all of it. `init`, `step` and `advance` are then called
        inside `jax.shard_map` with `check_vma=False` and states as `PER_ENV` says, and
        give what they give without it, to rounding.

    Raises:
      TypeError: `env` is no environment.
      ValueError: a space is not supported, or the user's own network or loss lacks
        what a technique of the config needs.
    """
    parts = make_parts(config, env, env_params, network, loss, axis_name)
    return PPO(
        init=partial(_init, parts),
        step=partial(_step, parts),
        act=partial(_act, parts),
        init_memory=lambda num_envs: init_memory(parts.network, num_envs).actor,
        advance=partial(_advance, parts),
        network=parts.network,
        env=parts.env,
        num_updates=config.num_updates,
    )


def make_train(
    config: Config,
    env: Any,
    env_params: EnvParams = None,
    *,
    network: Network | None = None,
    loss: Loss | None = None,
    axis_name: str | None = None,
) -> Callable[[jax.Array], Result]:
    """A whole training run as a pure function `key -> Result`; see `make_ppo`.

    >>> train = make_train(config, *gymnax.make("CartPole-v1"))  # doctest: +SKIP
    >>> jax.jit(jax.vmap(train))(jax.random.split(key, 256))  # doctest: +SKIP
    """
    ppo = make_ppo(
        config, env, env_params, network=network, loss=loss, axis_name=axis_name
    )

    def train(key: jax.Array) -> Result:
        updates = jnp.arange(config.num_updates)
        state, metrics = jax.lax.scan(ppo.advance, ppo.init(key), updates)
        return Result(state=state, metrics=metrics)

    return train


def _init(parts: Parts, key: jax.Array) -> TrainState:
    _check_shards(parts)
    config = parts.config
    params_key, env_key, key = jax.random.split(key, 3)
    memory = init_memory(parts.network, config.num_envs)
    collector = init_collector(
        env_key,
        collecting_reset(parts),
        config.num_envs,
        memory.actor,
        parts.axis_name,
    )
    # Of all environments: what starts by its data is the same in all shards, too.
    obs = gather(collector.now.obs, parts.axis_name)
    params = parts.network.init(params_key, obs)
    obs_statistics = ()
    if config.normalize_observation is not None:
        obs_statistics = jax.tree.map(
            lambda x, on: init_statistics(x.shape[1:]) if on else (),
            collector.now.obs,
            parts.normalized,
        )
    return TrainState(
        params=_set_sigma(parts, params, jnp.int32(0)),
        opt_state=parts.optimizer.init(params),
        collector=collector,
        obs_statistics=obs_statistics,
        reward_scale=init_reward_scale(config),
        critic_scale=init_critic_scale(config),
        advantage_scale=init_advantage_scale(config),
        adaptive=init_adaptive(config),
        update=jnp.int32(0),
        key=key,
        critic_memory=memory.critic,
    )


def _step(parts: Parts, state: TrainState) -> tuple[TrainState, Metrics]:
    _check_shards(parts)
    config = at_update(parts.config, state.adaptive, state.update)
    rollout_key, update_key, key = jax.random.split(state.key, 3)
    params = _set_sigma(parts, state.params, state.update)
    see = _observer(config, state.obs_statistics)
    behave = partial(_behave, parts, params, see)
    collector, mine, ended = _collect(
        rollout_key, parts, config, state.collector, behave
    )
    steps = gather(mine._replace(next_obs=()), parts.axis_name, axis=1)
    reward, reward_scale = shape_rewards(config, state.reward_scale, steps)
    before = Learned(
        params=params,
        opt_state=state.opt_state,
        critic_scale=state.critic_scale,
        advantage_scale=state.advantage_scale,
        adaptive=state.adaptive,
        critic_memory=state.critic_memory,
    )
    batch = Batch(
        obs=see(flat(steps.obs)),
        next_obs=see(flat(mine.next_obs)),
        steps=steps._replace(reward=reward),
        memory=Memory(
            actor=gather(state.collector.memory, parts.axis_name),
            critic=state.critic_memory,
        ),
    )
    learned, report, data = learn(
        update_key, parts, config, state.update, before, batch
    )
    metrics = _metrics(config, ended, report, data, learned.params)
    metrics = metrics._replace(num_fully_masked=_num_fully_masked(parts, steps.obs))
    state = TrainState(
        **learned._asdict(),
        collector=collector,
        obs_statistics=_see_more(config, state.obs_statistics, steps.obs),
        reward_scale=reward_scale,
        update=state.update + 1,
        key=key,
    )
    return state, metrics


def _collect(
    key: jax.Array,
    parts: Parts,
    config: Config,
    collector: Collector,
    behave: Callable[[Any, Any], tuple[Any, Any]],
) -> tuple[Collector, Transition, Ended]:
    """A rollout of this shard's environments; see `rollout`."""
    memory = init_memory(parts.network, config.num_envs).actor
    return rollout(
        key,
        collector,
        behave,
        parts.sampler,
        partial(log_prob, config),
        parts.to_env,
        collecting_reset(parts),
        make_step(parts.env, parts.env_params),
        config.num_steps,
        own(memory, parts.axis_name),
        parts.axis_name,
    )


def _check_shards(parts: Parts) -> None:
    """Refuse a number of shards that environments or minibatches do not split into.

    Raises:
      ValueError: they do not; or `axis_name` is no axis that is mapped over here.
    """
    config, shards = parts.config, num_shards(parts.axis_name)
    rows, unit = config.minibatch_size, "environment steps"
    if has_memory(parts.network):
        rows, unit = config.num_sequences // config.num_minibatches, "sequences"
    sizes = {"num_envs": config.num_envs, f"the {unit} of a minibatch": rows}
    for name, size in sizes.items():
        if size % shards:
            raise ValueError(
                f"Expected {name} to be a multiple of the {shards} shards over "
                f"{parts.axis_name!r}, got {size}."
            )


def _metrics(
    config: Config, ended: Ended, report: Report, data: Minibatch, params: Params
) -> Metrics:
    return Metrics(
        **ended._asdict(),
        **report.diagnostics._asdict(),
        explained_variance=explained_variance(data.value, data.target, data.weight),
        grad_norm=report.grad_norm,
        learning_rate=jnp.asarray(_policy_learning_rate(config)),
        finite=_all_finite(params),
        stopped=report.stopped,
        **_changing(config),
    )


def _behave(
    parts: Parts, params: Params, see: Callable[[Any], Any], obs: Any, memory: Any
) -> tuple[Any, Any]:
    """The action distribution that collects: the policy's, tempered if asked for."""
    distribution, memory = parts.network.actor(params, see(obs), memory)
    if parts.config.temperature is None:
        return distribution, memory
    return temper(distribution, parts.config.temperature), memory


def _set_sigma(parts: Parts, params: Params, update: jax.Array) -> Params:
    """Parameters with the standard deviation of this update, where it is scheduled."""
    sigma = parts.config.network.sigma
    set_log_std = getattr(parts.network, "set_log_std", None)
    if not isinstance(sigma, ScheduledSigma) or set_log_std is None:
        return params
    return set_log_std(params, jnp.log(sigma_at(parts.config, sigma, update)))


def _policy_learning_rate(config: Config) -> Any:
    group = config.actor_optimizer
    if group is None or group.learning_rate is None:
        return config.learning_rate
    return group.learning_rate


def _changing(config: Config) -> dict[str, Any]:
    """The numbers of this update that its config lets change, by metric's name."""
    changing: dict[str, Any] = {}
    if config.ent_schedule is not None:
        changing["ent_coef"] = config.ent_coef
    if config.anneal_clip:
        changing["clip_eps"] = config.clip_eps
    if config.kl_penalty is not None and config.kl_penalty.adaptive:
        changing["kl_coef"] = config.kl_penalty.coef
    return changing


def _observer(config: Config, statistics: Any) -> Callable[[Any], Any]:
    """Obs `[N, ...]` -> what the network sees, by statistics frozen for an update."""
    normalization = config.normalize_observation
    if normalization is None:
        return lambda obs: obs
    clip, eps = normalization.clip, normalization.eps
    return lambda obs: jax.tree.map(
        lambda x, s: standardize(x, s, clip, eps) if s else x, obs, statistics
    )


def _see_more(config: Config, statistics: Any, obs: Any) -> Any:
    """Observation statistics with a rollout's `obs` `[T, N, ...]` merged in.

    They are `()` for what is not standardised: one-hot parts, images, masks.
    """
    if config.normalize_observation is None:
        return statistics
    return jax.tree.map(
        lambda x, s: merge(s, batch_statistics(x, (0, 1))) if s else s,
        obs,
        statistics,
    )


def _num_fully_masked(parts: Parts, obs: Any) -> Any:
    if parts.fully_masked is None:
        return ()
    return parts.fully_masked(split_mask_value(obs)[1]).sum(dtype=jnp.int32)


def _all_finite(params: Params) -> jax.Array:
    # One sum a leaf: NaN and infinity pass through it.
    sums = [jnp.abs(x).sum() for x in jax.tree.leaves(params)]
    return jnp.isfinite(jnp.stack(sums)).all()


def _act(
    parts: Parts,
    state: TrainState,
    obs: Any,
    memory: Any = (),
    key: jax.Array | None = None,
) -> tuple[Any, Any]:
    obs = plain(obs)
    space = parts.env.observation_space(parts.env_params)
    check_value(space, obs, "observation", batch=1)
    check_memory(parts.network, memory, jax.tree.leaves(obs)[0].shape[0])
    see = _observer(parts.config, state.obs_statistics)
    distribution, memory = parts.network.actor(state.params, see(obs), memory)
    action = distribution.mode() if key is None else distribution.sample(seed=key)
    return parts.to_env(action), memory


def _advance(
    parts: Parts, state: TrainState, update: jax.Array
) -> tuple[TrainState, Metrics]:
    state, metrics = _step(parts, state)
    evaluation, num_updates = parts.config.evaluation, parts.config.num_updates
    if evaluation is None:
        return state, metrics
    due = ((update + 1) % evaluation.every == 0) | (update + 1 == num_updates)
    nothing = jnp.float32(missing()), jnp.float32(missing())
    mean_return, mean_length = jax.lax.cond(
        due, partial(_evaluate, parts), lambda state: nothing, state
    )
    return state, metrics._replace(
        evaluation_return=mean_return, evaluation_length=mean_length
    )


def _evaluate(parts: Parts, state: TrainState) -> tuple[jax.Array, jax.Array]:
    evaluation = parts.config.evaluation
    assert evaluation is not None

    def act(obs: Any, memory: Any, key: jax.Array) -> tuple[Any, Any]:
        sampling_key = None if evaluation.deterministic else key
        return _act(parts, state, obs, memory, sampling_key)

    episodes = evaluate(
        jax.random.key(evaluation.seed),
        act,
        parts.env,
        parts.env_params,
        evaluation.num_episodes,
        evaluation.max_steps,
        init_memory(parts.network, evaluation.num_episodes).actor,
    )
    return (
        episodes.episode_return.mean(),
        episodes.episode_length.mean(dtype=jnp.float32),
    )
