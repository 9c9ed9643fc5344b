"""Published systems as configs: `presets.sb3()`, or `--preset sb3`.

Each takes over its system's algorithm and numbers. What none takes over: the system's
environments and their wrappers, its own initial weights where they are not orthogonal,
and its torch or TensorFlow rounding. Steps that a system collects from one environment
are collected from one here; change `num_envs` and `num_steps` to fill a device.

Some have options that are for a Box of actions. `make_preset(name, action_space)`
leaves these out where there is no Box, and so does `--preset`.

docs/systems.md maps every system that the project knows of to a preset or an option.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import gymnasium
from gymnasium import spaces

from purejaxppo.config.config import Config
from purejaxppo.config.fields import nearest, replace

BOX_ONLY: Mapping[str, Any] = MappingProxyType(
    {
        "bounds_loss": None,
        "network.policy": "gaussian",
        "network.sigma": None,
        "network.tanh_mean": False,
    }
)
"""Field that is for a Box of actions -> its value where there is none."""


def make_preset(name: str, action_space: gymnasium.Space | None = None) -> Config:
    """Return the preset called `name`.

    Args:
      name: one of `PRESETS`.
      action_space: that of the environment; without a Box in it, the fields of
        `BOX_ONLY` are left out. `None` keeps all.

    Raises:
      ValueError: there is no such preset (with the nearest names).
    """
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}; {nearest(name, PRESETS)}.")
    preset = PRESETS[name]()
    if action_space is None or _has_box(action_space):
        return preset
    return replace(preset, BOX_ONLY)


def _has_box(space: gymnasium.Space) -> bool:
    """Return whether a space is a Box, or has one among its parts."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.values() if isinstance(space, spaces.Dict) else space
        return any(map(_has_box, parts))
    return isinstance(space, spaces.Box)


MUJOCO = MappingProxyType(
    {"num_envs": 1, "num_steps": 2048, "num_minibatches": 32, "num_epochs": 10}
)
"""The PPO paper's sizes for MuJoCo: ten epochs of minibatches of 64."""


def _config(**changes: Any) -> Config:
    """The default config with fields changed, techniques as mappings or by name."""
    return replace(Config(), changes)


def ppo2_mujoco() -> Config:
    """OpenAI baselines' ppo2 for MuJoCo.

    Time limits count as terminal, as there. Left out: observation and reward statistics
    that change within a rollout (here they do after it); LSTM policies.
    """
    return _config(
        **MUJOCO,
        learning_rate=3e-4,
        ent_coef=0.0,
        vf_clip_eps=0.2,
        truncation="none",
        normalize_observation=True,
        normalize_reward="reward_normalization",
    )


def ppo2_atari() -> Config:
    """OpenAI baselines' ppo2 for Atari, on whatever observations there are.

    Left out: the convolutional network (a shared trunk of dense layers stands in), the
    stack of four frames and the other Atari wrappers.
    """
    return _config(
        num_envs=8,
        num_steps=128,
        learning_rate=2.5e-4,
        clip_eps=0.1,
        vf_clip_eps=0.1,
        truncation="none",
        transform_reward={"sign": True},
        network={"shared": True},
    )


def ppo1() -> Config:
    """OpenAI baselines' ppo1 for MuJoCo: PPO-Clip (it has no KL penalty).

    Clip and learning rate decay to 0; advantages are standardised over the batch
    without an epsilon. Left out: gradients averaged over MPI processes.
    """
    return _config(
        **MUJOCO,
        learning_rate=3e-4,
        anneal_clip=True,
        max_grad_norm=None,
        normalize_advantage="batch",
        advantage_eps=0.0,
        vf_coef=1.0,
        vf_half=False,
        ent_coef=0.0,
        truncation="none",
        normalize_observation={"clip": 5.0},
    )


def paper_clip() -> Config:
    """PPO-Clip as in Schulman et al. 2017, table 3 (MuJoCo).

    Its reward is the environment's and its learning rate constant. Left out: whatever
    the paper does not say (weights, epsilon, normalisation) is the default here.
    """
    return _config(
        **MUJOCO,
        learning_rate=3e-4,
        anneal_lr=False,
        vf_coef=1.0,
        vf_half=False,
        ent_coef=0.0,
    )


def paper_penalty() -> Config:
    """PPO-Penalty as in Schulman et al. 2017: adaptive β, target 0.01, no clip.

    Otherwise `paper_clip`, and what that leaves out.
    """
    return replace(paper_clip(), {"clip_eps": None, "kl_penalty": True})


def spinning_up() -> Config:
    """OpenAI Spinning Up's PPO: full batches, 80 policy and 80 value steps.

    The policy stops at a KL (k1) of 1.5 · 0.01, the critic goes on; its target is the
    Monte Carlo return. Left out: averaging over MPI processes; policy and value steps
    alternate here, which with separate networks is the same.
    """
    return _config(
        num_envs=1,
        num_steps=4000,
        num_minibatches=1,
        num_epochs=80,
        critic_epochs=80,
        gae_lambda=0.97,
        learning_rate=3e-4,
        anneal_lr=False,
        adam_eps=1e-8,
        critic_optimizer={"learning_rate": 1e-3},
        max_grad_norm=None,
        target="monte_carlo",
        normalize_advantage="batch",
        advantage_eps=0.0,
        vf_coef=1.0,
        vf_half=False,
        ent_coef=0.0,
        kl_stop={"scope": "policy", "estimator": "k1"},
        shuffle="none",
        network={"log_std_init": -0.5},
    )


def sb3() -> Config:
    """Stable-Baselines3's PPO with its defaults.

    Left out: the sample standard deviation (n − 1) of advantages, 0.8 % at 64 samples;
    torch's 1e-6 in the gradient's clip; generalised state-dependent exploration.
    """
    return _config(
        **MUJOCO,
        learning_rate=3e-4,
        anneal_lr=False,
        vf_half=False,
        ent_coef=0.0,
    )


def cleanrl() -> Config:
    """CleanRL's ppo.py for classic control.

    Time limits count as terminal, as there. Left out: the sample standard deviation of
    advantages (n − 1).
    """
    return _config(learning_rate=2.5e-4, vf_clip_eps=0.2, truncation="none")


def rllib() -> Config:
    """RLlib's PPO: clip and KL penalty together, the squared value error cut at 10.

    Left out: its hidden layers of 256 (`network.widths`); 4096 steps an update instead
    of 4000, so that minibatches of 128 divide them; several rollout workers.
    """
    return _config(
        num_envs=1,
        num_steps=4096,
        num_minibatches=32,
        num_epochs=30,
        learning_rate=5e-5,
        anneal_lr=False,
        adam_eps=1e-8,
        max_grad_norm=None,
        gae_lambda=1.0,
        clip_eps=0.3,
        kl_penalty={"coef": 0.2, "high": 2.0, "low": 0.5, "up": 1.5, "down": 0.5},
        normalize_advantage="batch",
        advantage_min_std=1e-4,
        vf_coef=1.0,
        vf_half=False,
        vf_clip_eps=10.0,
        vf_clip_mode="error",
        ent_coef=0.0,
    )


def rl_games() -> Config:
    """rl-games' PPO: learning rate by KL, values and observations normalised.

    Time limits bootstrap from V(sₜ), as there. Left out: thousands of environments (64
    here); the exact KL to the policy of the last epoch (an estimate of that to the
    rollout's decides); the clip of decoded values at ±5; sequences and central value.
    Without a Box of actions: the bounds loss on the Gaussian's mean.
    """
    return _config(
        num_envs=64,
        num_steps=16,
        num_minibatches=2,
        learning_rate=3e-4,
        anneal_lr=False,
        kl_learning_rate=True,
        adam_eps=1e-8,
        max_grad_norm=1.0,
        vf_coef=1.0,
        vf_half=False,
        vf_clip_eps=0.2,
        ent_coef=0.0,
        bounds_loss=True,
        normalize_advantage="batch",
        normalize_value="running_mean_std",
        normalize_observation={"clip": 5.0, "eps": 1e-5},
        truncation="current_value",
        network={"widths": (256, 128, 64), "activation": "elu", "shared": True},
    )


def dopamine() -> Config:
    """Dopamine's PPO for MuJoCo: one environment, minibatches of consecutive steps.

    Left out: it shuffles the order of those fixed blocks once; here it stays.
    """
    return _config(
        **MUJOCO,
        learning_rate=3e-4,
        vf_clip_eps=0.2,
        ent_coef=0.0,
        shuffle="none",
        normalize_observation=True,
        normalize_reward="reward_normalization",
    )


def acme() -> Config:
    """Acme's PPO: moving moments of values, advantages over their mean size.

    256 sequences of 8 steps. Left out: its replay of sequences by asynchronous actors.
    """
    return _config(
        num_envs=256,
        num_steps=8,
        num_minibatches=8,
        num_epochs=2,
        learning_rate=3e-4,
        anneal_lr=False,
        adam_eps=1e-7,
        vf_coef=1.0,
        vf_half=False,
        ent_coef=3e-4,
        normalize_value="moving_mean_std",
        normalize_advantage=None,
        scale_advantage="mean_absolute",
    )


def di_engine() -> Config:
    """DI-engine's PPOPolicy: advantages anew each epoch, values over their std.

    Left out: the gain 0.01 of every actor layer (only the last one has it here), its
    widths 128, 128, 64, and the KL to a pretrained policy.
    """
    return _config(
        num_envs=8,
        num_steps=400,
        num_minibatches=50,
        num_epochs=10,
        learning_rate=3e-4,
        anneal_lr=False,
        adam_eps=1e-8,
        vf_clip_eps=0.2,
        ent_coef=0.0,
        recompute_advantages=True,
        normalize_value="running_std",
        truncation="none",
        network={"activation": "relu", "shared": True},
    )


def ppo_pytorch() -> Config:
    """nikhilbarhate99's PPO-PyTorch: Monte Carlo returns, 80 full-batch steps.

    The standard deviation falls in steps. Left out: returns standardised per batch, as
    baseline and as target: here the critic learns returns standardised by running
    statistics, and advantages are standardised per batch. An update of it ends with an
    episode; here the rollout's end bootstraps. Without a Box of actions: the standard
    deviation.
    """
    return _config(
        num_envs=1,
        num_steps=4000,
        num_minibatches=1,
        num_epochs=80,
        anneal_lr=False,
        adam_eps=1e-8,
        max_grad_norm=None,
        actor_optimizer={"learning_rate": 3e-4},
        critic_optimizer={"learning_rate": 1e-3},
        advantage="reward_to_go",
        target="monte_carlo",
        normalize_value="running_mean_std",
        normalize_advantage="batch",
        advantage_eps=1e-7,
        vf_half=False,
        shuffle="none",
        truncation="none",
        network={"sigma": "scheduled_sigma"},
    )


def dppo_morvan() -> Config:
    """MorvanZhou's DPPO and simply_PPO, the KL method, with Pendulum's rewards.

    μ = bound · tanh, σ = softplus of the state; full-batch steps until the KL is four
    times its target, by an estimate of it. Left out: asynchronous workers (the four
    here wait for each other), and the ratio of probabilities, which underflows. Without
    a Box of actions: μ and σ; the rewards are still rescaled as Pendulum's.
    """
    return _config(
        num_envs=4,
        num_steps=16,
        num_minibatches=1,
        num_epochs=10,
        gamma=0.9,
        anneal_lr=False,
        adam_eps=1e-8,
        max_grad_norm=None,
        actor_optimizer={"learning_rate": 1e-4},
        critic_optimizer={"learning_rate": 2e-4},
        clip_eps=None,
        kl_penalty={"coef": 0.5, "min": 1e-4, "max": 10.0},
        kl_stop={"factor": 4.0, "scope": "policy"},
        advantage="reward_to_go",
        target="monte_carlo",
        normalize_advantage=None,
        vf_coef=1.0,
        vf_half=False,
        ent_coef=0.0,
        transform_reward={"shift": 8.0, "scale": 1 / 8},
        network={
            "widths": (100,),
            "activation": "relu",
            "tanh_mean": True,
            "sigma": {"kind": "state_sigma", "parametrization": "softplus"},
        },
    )


def drl_code_pytorch() -> Config:
    """Lizhi-sjtu's DRL-code-pytorch with its ten tricks, the Gaussian variant.

    μ = bound · tanh. Left out: it clamps actions before their log-probability is taken,
    here the stored action is the sample; it does not clip what it normalises, here at
    ±10. Without a Box of actions: μ's bound.
    """
    return _config(
        **MUJOCO,
        learning_rate=3e-4,
        normalize_advantage="batch",
        advantage_eps=1e-5,
        grad_scope="group",
        vf_coef=1.0,
        vf_half=False,
        normalize_observation=True,
        normalize_reward="reward_normalization",
        network={"tanh_mean": True, "hidden_gain": 1.0},
    )


def ppo_continuous_beta() -> Config:
    """XinJingHao's PPO-Continuous-Pytorch with the Beta policy.

    Left out: the gradient's clip at 40 holds for both networks, not the actor's alone;
    the L2 penalty takes in biases; samples are kept off the edges before they are
    stored, where it clamps them. Without a Box of actions: the Beta policy.
    """
    return _config(
        **MUJOCO,
        learning_rate=2e-4,
        anneal_lr=False,
        adam_eps=1e-8,
        max_grad_norm=40.0,
        grad_scope="group",
        critic_optimizer={"weight_decay": 2e-3},
        normalize_advantage="batch",
        advantage_eps=1e-4,
        vf_coef=1.0,
        vf_half=False,
        ent_coef=1e-3,
        ent_schedule="exponential",
        network={"widths": (150, 150), "policy": "beta"},
    )


def trpo() -> Config:
    """OpenAI baselines' TRPO for MuJoCo.

    Left out: its Fisher matrix is of a fifth of the batch, here of all of it; the
    step must keep KL <= max_kl, where its own line search allows 1.5 times that.
    """
    return _config(
        num_envs=1,
        num_steps=1024,
        num_minibatches=16,
        num_epochs=5,
        gae_lambda=0.98,
        learning_rate=1e-3,
        anneal_lr=False,
        adam_eps=1e-8,
        max_grad_norm=None,
        clip_eps=None,
        trpo=True,
        normalize_advantage="batch",
        advantage_eps=0.0,
        vf_coef=1.0,
        vf_half=False,
        ent_coef=0.0,
        normalize_observation={"clip": 5.0},
        truncation="none",
        network={"widths": (32, 32)},
    )


PRESETS: Mapping[str, Callable[[], Config]] = MappingProxyType(
    {
        preset.__name__: preset
        for preset in (
            ppo2_mujoco,
            ppo2_atari,
            ppo1,
            paper_clip,
            paper_penalty,
            spinning_up,
            sb3,
            cleanrl,
            rllib,
            rl_games,
            dopamine,
            acme,
            di_engine,
            ppo_pytorch,
            dppo_morvan,
            drl_code_pytorch,
            ppo_continuous_beta,
            trpo,
        )
    }
)
"""Name -> the function that makes the preset."""
