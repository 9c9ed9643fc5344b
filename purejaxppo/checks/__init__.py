"""Does an environment keep the protocol? A table of checks, for any environment.

>>> import purejaxppo as ppo
>>> checks = check_environment(*ppo.make("CartPole-v1"), num_steps=20)
>>> all(check.passed for check in checks)
True
"""

from purejaxppo.checks.check_list import Check, check_environment
from purejaxppo.checks.random_actions import sample_action

__all__ = ["Check", "check_environment", "sample_action"]
