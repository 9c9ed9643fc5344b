"""Worker: a job in rejax 0.1.3, run by the peers' environment.

Environment steps, as rejax counts them: `train` scans ceil(total_timesteps /
eval_freq) evaluations of ceil(eval_freq / (num_envs * num_steps)) iterations each, and
an iteration makes num_envs * num_steps steps. With eval_freq = total_timesteps that is
total_timesteps rounded *up* to whole iterations (purejaxppo rounds down). So the rate
divides by `global_step` of the final state, which grows by num_envs a step.

What else differs inside the same job: rejax has two Adams instead of one, clips
gradients element by element, clips the value loss, does not anneal the learning rate,
evaluates the critic on each observation but not on the one after it, and keeps no
episode metrics.
"""

from typing import Any

import jax
import numpy as np
from rejax import PPO  # pyright: ignore[reportMissingImports]

from benchmarks import jobs
from benchmarks.programs import Program, serve_programs


def make_algorithm(job: jobs.Job) -> Any:
    """The job's hyperparameters; one evaluation, after all steps."""
    return PPO.create(
        env=job.env,
        num_envs=job.envs,
        num_steps=jobs.NUM_STEPS,
        num_epochs=jobs.NUM_EPOCHS,
        num_minibatches=jobs.NUM_MINIBATCHES,
        total_timesteps=job.total_timesteps,
        learning_rate=jobs.LEARNING_RATE,
        max_grad_norm=jobs.MAX_GRAD_NORM,
        ent_coef=jobs.ENT_COEF,
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
        eval_freq=job.total_timesteps,
        skip_initial_evaluation=True,
    )


def make_program(job: jobs.Job) -> Program:
    """All agents vmapped in one jit, as rejax's users do, without the evaluation."""
    algorithm = make_algorithm(job).replace(eval_callback=lambda *_: ())
    return Program(
        function=jax.jit(jax.vmap(lambda key: algorithm.train(key)[0])),
        make_keys=lambda seed: jax.random.split(jax.random.PRNGKey(seed), job.agents),
        count_steps=lambda state: int(np.asarray(state.global_step, np.int64).sum()),
    )


if __name__ == "__main__":
    serve_programs(make_program)
