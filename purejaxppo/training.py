"""PPO as a pair of pure functions, and whole training runs as a scan of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.advantages import discounted_returns, gae
from purejaxppo.config import Config
from purejaxppo.distributions import Sampler, keyed_sampler, make_action_head
from purejaxppo.environments import Environment, EnvParams, make_reset, make_step
from purejaxppo.evaluation import evaluate
from purejaxppo.losses import explained_variance
from purejaxppo.networks import Network, Params, make_mlp
from purejaxppo.optimizers import make_optimizer
from purejaxppo.rollouts import (
    Collector,
    Transition,
    init_collector,
    rollout,
)
from purejaxppo.schedules import linear, progress
from purejaxppo.statistics import (
    RunningStatistics,
    batch_statistics,
    init_statistics,
    merge,
    scale,
    standardize,
)
from purejaxppo.suites import adapt
from purejaxppo.updates import Learner, Loss, Minibatch, ppo_loss, update


class RewardScale(NamedTuple):
    """Running statistics of the discounted return, and each environment's own `[N]`."""

    statistics: RunningStatistics
    carried: jax.Array


class TrainState(NamedTuple):
    """All that a run carries from update to update; arrays only, so it can be saved.

    `obs_statistics` and `reward_scale` are `()` where they are off.
    """

    params: Params
    opt_state: Any
    collector: Collector
    obs_statistics: Any
    reward_scale: Any
    update: jax.Array
    key: jax.Array


class Metrics(NamedTuple):
    """One update's figures, scalars; a run has them as `[num_updates]`.

    `episode_return` and `episode_length` are means over the `num_episodes` episodes
    that ended in the update, NaN where none did. `evaluation_return` and
    `evaluation_length` are NaN between evaluations, and `()` where evaluation is off.
    Losses and `grad_norm` (before clipping) are means over the minibatches, and
    `finite` says whether all parameters are.
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
      act: (state, obs `[N, ...]`, key or None) -> action for the environment; the
        distribution's mode without a key, a sample with one.
      advance: (state, update) -> (state, metrics), `step` and then an evaluation if
        one is due after update number `update`. Where `update` is not batched by a
        vmap, an evaluation that is not due costs nothing.
      network: the network; acts and values with `state.params`.
    """

    init: Callable[[jax.Array], TrainState]
    step: Callable[[TrainState], tuple[TrainState, Metrics]]
    act: Callable[..., Any]
    advance: Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]
    network: Network


class _Parts(NamedTuple):
    """What `make_ppo` settles once, before anything is traced."""

    config: Config
    env: Environment
    env_params: EnvParams
    network: Network
    loss: Loss
    sampler: Sampler
    to_env: Callable[[Any], Any]


def make_ppo(
    config: Config,
    env: Any,
    env_params: EnvParams = None,
    *,
    network: Network | None = None,
    loss: Loss | None = None,
) -> PPO:
    """PPO with `config` on `env`.

    Args:
      config: hyperparameters; floats may be traced.
      env: an `Environment`, or a raw gymnax environment.
      env_params: its parameters, may be traced; its defaults if None.
      network: any object with `init`, `actor` and `critic` in place of the default.
      loss: (config, network, params, minibatch) -> (scalar, diagnostics) in place of
        `ppo_loss`.

    Raises:
      TypeError: `env` is no environment.
      ValueError: a space is not supported.
    """
    env = adapt(env)
    env_params = env.default_params if env_params is None else env_params
    head = make_action_head(env.action_space(env_params))
    sampler = head.sampler if network is None else keyed_sampler()
    if network is None:
        network = make_mlp(
            env.observation_space(env_params),
            head,
            widths=config.network.widths,
            activation=config.network.activation,
            layer_norm=config.network.layer_norm,
            shared=config.network.shared,
            log_std_init=config.network.log_std_init,
        )
    parts = _Parts(
        config, env, env_params, network, loss or ppo_loss, sampler, head.to_env
    )
    return PPO(
        init=partial(_init, parts),
        step=partial(_step, parts),
        act=partial(_act, parts),
        advance=partial(_advance, parts),
        network=network,
    )


def make_train(
    config: Config,
    env: Any,
    env_params: EnvParams = None,
    *,
    network: Network | None = None,
    loss: Loss | None = None,
) -> Callable[[jax.Array], Result]:
    """A whole training run as a pure function `key -> Result`; see `make_ppo`.

    >>> train = make_train(config, *gymnax.make("CartPole-v1"))  # doctest: +SKIP
    >>> jax.jit(jax.vmap(train))(jax.random.split(key, 256))  # doctest: +SKIP
    """
    ppo = make_ppo(config, env, env_params, network=network, loss=loss)

    def train(key: jax.Array) -> Result:
        updates = jnp.arange(config.num_updates)
        state, metrics = jax.lax.scan(ppo.advance, ppo.init(key), updates)
        return Result(state=state, metrics=metrics)

    return train


def _init(parts: _Parts, key: jax.Array) -> TrainState:
    config = parts.config
    params_key, env_key, key = jax.random.split(key, 3)
    reset = make_reset(parts.env, parts.env_params)
    collector = init_collector(env_key, reset, config.num_envs)
    params = parts.network.init(params_key, collector.now.obs)
    obs_statistics, reward_scale = (), ()
    if config.normalize_observation is not None:
        obs_statistics = jax.tree.map(
            lambda x: init_statistics(x.shape[1:]), collector.now.obs
        )
    if config.normalize_reward is not None:
        reward_scale = RewardScale(init_statistics(), jnp.zeros(config.num_envs))
    return TrainState(
        params=params,
        opt_state=make_optimizer(config.max_grad_norm, config.adam_eps).init(params),
        collector=collector,
        obs_statistics=obs_statistics,
        reward_scale=reward_scale,
        update=jnp.int32(0),
        key=key,
    )


def _step(parts: _Parts, state: TrainState) -> tuple[TrainState, Metrics]:
    config, network = parts.config, parts.network
    rollout_key, update_key, key = jax.random.split(state.key, 3)
    see = _observer(config, state.obs_statistics)
    collector, steps, ended = rollout(
        rollout_key,
        state.collector,
        lambda obs: network.actor(state.params, see(obs), ())[0],
        parts.sampler,
        parts.to_env,
        make_reset(parts.env, parts.env_params),
        make_step(parts.env, parts.env_params),
        config.num_steps,
    )
    reward, reward_scale = _scale_reward(config, state.reward_scale, steps)
    batch = _make_batch(parts, state, steps._replace(reward=reward))
    learning_rate = _learning_rate(config, state.update)
    learner, diagnostics, grad_norm = update(
        update_key,
        Learner(params=state.params, opt_state=state.opt_state),
        batch,
        partial(parts.loss, config, network),
        make_optimizer(config.max_grad_norm, config.adam_eps),
        learning_rate,
        config,
    )
    metrics = Metrics(
        **ended._asdict(),
        **diagnostics._asdict(),
        explained_variance=explained_variance(batch.value, batch.target),
        grad_norm=grad_norm,
        learning_rate=learning_rate,
        finite=_all_finite(learner.params),
    )
    state = TrainState(
        params=learner.params,
        opt_state=learner.opt_state,
        collector=collector,
        obs_statistics=_see_more(config, state.obs_statistics, steps.obs),
        reward_scale=reward_scale,
        update=state.update + 1,
        key=key,
    )
    return state, metrics


def _learning_rate(config: Config, update: jax.Array) -> jax.Array:
    learning_rate = jnp.asarray(config.learning_rate, jnp.float32)
    if not config.anneal_lr:
        return learning_rate
    return linear(learning_rate, 0.0, progress(update, config.num_updates))


def _make_batch(parts: _Parts, state: TrainState, steps: Transition) -> Minibatch:
    """Values, advantages and targets of a rollout, flat `[T * N, ...]`."""
    config, critic = parts.config, parts.network.critic
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    see = _observer(config, state.obs_statistics)
    obs = see(flat.obs)
    value, _ = critic(state.params, obs, ())
    _check_shape("network.critic's values", value, flat.reward)
    _check_shape("the action distribution's log_prob", flat.log_prob, flat.reward)
    next_value, _ = critic(state.params, see(flat.next_obs), ())
    advantage = gae(
        steps.reward,
        value.reshape(steps.reward.shape),
        next_value.reshape(steps.reward.shape),
        steps.terminated,
        steps.truncated,
        config.gamma,
        config.gae_lambda,
    ).reshape(-1)
    return Minibatch(
        obs=obs,
        action=flat.action,
        log_prob=flat.log_prob,
        value=value,
        advantage=advantage,
        target=advantage + value,
    )


def _check_shape(name: str, x: jax.Array, like: jax.Array) -> None:
    # `[batch, 1]` would broadcast against `[batch]`, and train wrongly without a word.
    if x.shape != like.shape:
        raise ValueError(f"Expected {name} to be of shape [batch], got {x.shape}.")


def _observer(config: Config, statistics: Any) -> Callable[[Any], Any]:
    """Obs `[N, ...]` -> what the network sees, by statistics frozen for an update."""
    normalization = config.normalize_observation
    if normalization is None:
        return lambda obs: obs
    clip, eps = normalization.clip, normalization.eps
    return lambda obs: jax.tree.map(
        lambda x, s: standardize(x, s, clip, eps), obs, statistics
    )


def _see_more(config: Config, statistics: Any, obs: Any) -> Any:
    """Observation statistics with a rollout's `obs` `[T, N, ...]` merged in."""
    if config.normalize_observation is None:
        return statistics
    return jax.tree.map(
        lambda x, s: merge(s, batch_statistics(x, (0, 1))), obs, statistics
    )


def _scale_reward(
    config: Config, reward_scale: Any, steps: Transition
) -> tuple[jax.Array, Any]:
    """Rewards `[T, N]` over the running std of the discounted return, and its state."""
    if config.normalize_reward is None:
        return steps.reward, reward_scale
    done = steps.terminated | steps.truncated
    total, carried = discounted_returns(
        steps.reward, done, reward_scale.carried, config.gamma
    )
    statistics = merge(reward_scale.statistics, batch_statistics(total, (0, 1)))
    clip, eps = config.normalize_reward.clip, config.normalize_reward.eps
    reward = scale(steps.reward, statistics, clip, eps)
    return reward, RewardScale(statistics=statistics, carried=carried)


def _all_finite(params: Params) -> jax.Array:
    # One sum a leaf: NaN and infinity pass through it.
    sums = [jnp.abs(x).sum() for x in jax.tree.leaves(params)]
    return jnp.isfinite(jnp.stack(sums)).all()


def _act(
    parts: _Parts, state: TrainState, obs: Any, key: jax.Array | None = None
) -> Any:
    see = _observer(parts.config, state.obs_statistics)
    distribution, _ = parts.network.actor(state.params, see(obs), ())
    if key is None:
        return parts.to_env(distribution.mode())
    return parts.to_env(distribution.sample(seed=key))


def _advance(
    parts: _Parts, state: TrainState, update: jax.Array
) -> tuple[TrainState, Metrics]:
    state, metrics = _step(parts, state)
    evaluation, num_updates = parts.config.evaluation, parts.config.num_updates
    if evaluation is None:
        return state, metrics
    due = ((update + 1) % evaluation.every == 0) | (update + 1 == num_updates)
    nothing = jnp.float32(jnp.nan), jnp.float32(jnp.nan)
    mean_return, mean_length = jax.lax.cond(
        due, partial(_evaluate, parts), lambda state: nothing, state
    )
    return state, metrics._replace(
        evaluation_return=mean_return, evaluation_length=mean_length
    )


def _evaluate(parts: _Parts, state: TrainState) -> tuple[jax.Array, jax.Array]:
    evaluation = parts.config.evaluation
    assert evaluation is not None

    def act(obs: Any, key: jax.Array) -> Any:
        return _act(parts, state, obs, None if evaluation.deterministic else key)

    episodes = evaluate(
        jax.random.key(evaluation.seed),
        act,
        parts.env,
        parts.env_params,
        evaluation.num_episodes,
        evaluation.max_steps,
    )
    return (
        episodes.episode_return.mean(),
        episodes.episode_length.mean(dtype=jnp.float32),
    )
