"""Studies with policies that nobody has trained: their parameters are random."""

import jax
import numpy as np

import purejaxppo as ppo
from purejaxppo.config.fields import replace
from purejaxppo.study import Loaded, Policy, Study
from purejaxppo.study.storage import files
from tests.studies import leave_facts

TINY = ppo.Config(
    total_timesteps=64,
    num_envs=2,
    num_steps=16,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(8,)),
)


def untrained(env, changes=None, num_seeds=2, scale=0.5, **given):
    """A study as `load` gives it, with statistics that are nobody's default."""
    study = Study(replace(TINY, changes or {}), env, num_seeds, seed=5, **given)
    algorithm, noise = study.make_ppo(), np.random.default_rng(0)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))

    def numbers(x, low, high):
        return noise.uniform(low, high, (num_seeds, *x.shape)).astype(x.dtype)

    policies = Policy(
        params=jax.tree.map(lambda x: numbers(x, -2 * scale, 2 * scale), state.params),
        obs_statistics=jax.tree.map(lambda x: numbers(x, 1, 3), state.obs_statistics),
        critic_scale=jax.tree.map(lambda x: numbers(x, 1, 3), state.critic_scale),
    )
    return Loaded(study, algorithm, study.make_env()[1], policies, updates=10)


def leave(directory, loaded):
    """Write what `load` reads."""
    files.write_job(directory, loaded.study.job)
    leave_facts(directory, status="incomplete", updates=loaded.updates)
    path = directory / files.PARAMETERS / "0"
    files.write_tree(path, loaded.policies._asdict())
    files.write_digests(path)
    return directory
