"""A whole rejax process: one agent on CartPole-v1, then the return it evaluates to.

rejax reports returns only from evaluations, so this has one (128 episodes) at the end.

Usage: python -m benchmarks.rejax_startup TOTAL_TIMESTEPS
"""

import sys

import jax

from benchmarks.jobs import Job
from benchmarks.rejax_programs import make_algorithm


def main() -> None:
    algorithm = make_algorithm(Job(1, 4, "CartPole-v1", int(sys.argv[1])))
    _, (_, returns) = jax.jit(algorithm.train)(jax.random.PRNGKey(0))
    print(float(returns[-1].mean()))


if __name__ == "__main__":
    main()
