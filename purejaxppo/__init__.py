"""End-to-end PPO in JAX: many seeds in one compiled program, judged by their spread.

>>> import jax, purejaxppo as ppo
>>> env, env_params = ppo.make("CartPole-v1")
>>> config = ppo.Config(total_timesteps=512)
>>> train = ppo.make_train(config, env, env_params)
>>> result = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 2))
>>> result.metrics.episode_return.shape  # [seeds, updates]
(2, 1)
"""

from importlib.metadata import version

from purejaxppo.algorithm.advantages.estimators import gae
from purejaxppo.algorithm.algorithm import (
    PPO,
    Metrics,
    Result,
    TrainState,
    make_ppo,
    make_train,
)
from purejaxppo.algorithm.evaluation import Episodes, evaluate
from purejaxppo.algorithm.learning.objective import (
    Diagnostics,
    Minibatch,
    policy_of,
    ppo_loss,
    value_of,
)
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.config import presets, techniques
from purejaxppo.config.config import Config, NetworkConfig
from purejaxppo.config.techniques import (
    EvaluationConfig,
    ObservationNormalization,
    RewardNormalization,
)
from purejaxppo.environments.protocol import Arguments, Environment, Step
from purejaxppo.environments.suites import env_ids, make
from purejaxppo.networks.actor_critic import ActorCritic, Network, make_actor_critic
from purejaxppo.networks.distributions import make_action_head
from purejaxppo.networks.parameters import draw_kernels

__version__ = version("purejaxppo")

__all__ = [
    "PPO",
    "ActorCritic",
    "Arguments",
    "Config",
    "Diagnostics",
    "Environment",
    "Episodes",
    "EvaluationConfig",
    "Metrics",
    "Minibatch",
    "Network",
    "NetworkConfig",
    "ObservationNormalization",
    "Result",
    "RewardNormalization",
    "Step",
    "TrainState",
    "Transition",
    "draw_kernels",
    "env_ids",
    "evaluate",
    "gae",
    "make",
    "make_action_head",
    "make_actor_critic",
    "make_ppo",
    "make_train",
    "policy_of",
    "ppo_loss",
    "presets",
    "techniques",
    "value_of",
]
