"""Worker: a job in purejaxppo, its runs spread over the devices as a study does it."""

import jax

import purejaxppo as ppo
from benchmarks import jobs
from benchmarks.programs import Program, serve_programs
from purejaxppo.cli.devices import use_this_machine
from purejaxppo.study import over_devices


def make_program(job: jobs.Job) -> Program:
    """All agents in one program, over as many devices as divide them."""
    config = ppo.Config(
        total_timesteps=job.total_timesteps,
        num_envs=job.envs,
        num_steps=jobs.NUM_STEPS,
        num_epochs=jobs.NUM_EPOCHS,
        num_minibatches=jobs.NUM_MINIBATCHES,
        learning_rate=jobs.LEARNING_RATE,
        max_grad_norm=jobs.MAX_GRAD_NORM,
        ent_coef=jobs.ENT_COEF,
        network=ppo.NetworkConfig(widths=(64, 64), activation="tanh"),
    )
    train = ppo.make_train(config, *ppo.make(job.env))
    return Program(
        function=over_devices(train, job.agents),
        make_keys=lambda seed: jax.random.split(jax.random.key(seed), job.agents),
        count_steps=lambda result: int(result.state.update.sum()) * config.batch_size,
    )


def main() -> None:
    use_this_machine()
    serve_programs(make_program)


if __name__ == "__main__":
    main()
