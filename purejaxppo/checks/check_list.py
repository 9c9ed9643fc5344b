"""All rules for an environment, and what it takes to try them in turn."""

from collections.abc import Callable
from typing import Any, NamedTuple

from purejaxppo.checks import episode_checks, static_checks
from purejaxppo.checks.random_play import Subject
from purejaxppo.environments.protocol import EnvParams
from purejaxppo.environments.suites.custom import describe


class Check(NamedTuple):
    """One rule: whether the environment keeps it, and in one line what was seen.

    `passed` is None where the rule was not tried, as what it needs had failed.
    """

    name: str
    passed: bool | None
    detail: str


class Rule(NamedTuple):
    """How to check a rule: gives a detail or raises; and the rules it needs."""

    name: str
    check: Callable[[Subject], str]
    needs: tuple[str, ...] = ()


def check_environment(
    env: Any,
    env_params: EnvParams = None,
    *,
    num_envs: int = 8,
    num_steps: int = 200,
    seed: int = 0,
) -> list[Check]:
    """Check an environment against the protocol, by tracing it and by random play.

    Nothing is raised that the environment does wrong: it is in the table.

    Args:
      env: an `Environment`, or a raw gymnax environment, or what should be one.
      env_params: its parameters; its defaults if None.
      num_envs: how many are played side by side.
      num_steps: how many steps each is played.
      seed: of all that is random.

    Raises:
      ValueError: `num_envs` or `num_steps` is less than 1.
    """
    for name, value in (("num_envs", num_envs), ("num_steps", num_steps)):
        if value < 1:
            raise ValueError(f"Expected {name} to be > 0, got {value}.")
    subject = Subject(env, env_params, num_envs, num_steps, seed)
    checks: dict[str, Check] = {}
    for rule in RULES:
        lacking = [name for name in rule.needs if not checks[name].passed]
        if lacking:
            detail = f"not run, for want of: {', '.join(lacking)}"
            checks[rule.name] = Check(rule.name, None, detail)
        else:
            checks[rule.name] = _try(rule, subject)
    return list(checks.values())


def _try(rule: Rule, subject: Subject) -> Check:
    try:
        return Check(rule.name, True, rule.check(subject))
    except ValueError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Check(rule.name, False, lines[0])
    except Exception as error:
        return Check(rule.name, False, f"raised {describe(error)}")


TRACED = ("one trace", "reward", "flags", "observation", "action mask")
RULES = (
    Rule("protocol", static_checks.protocol),
    Rule("spaces", static_checks.gymnasium_spaces, ("protocol",)),
    Rule("actions", static_checks.actions, ("spaces",)),
    Rule("tracing", static_checks.tracing, ("actions",)),
    Rule("one trace", static_checks.one_trace, ("tracing",)),
    Rule("reward", static_checks.reward, ("tracing",)),
    Rule("flags", static_checks.flags, ("tracing",)),
    Rule("observation", static_checks.observation, ("tracing",)),
    Rule("action mask", static_checks.action_mask, ("tracing",)),
    Rule("random play", episode_checks.random_play, TRACED),
    Rule("bounds", episode_checks.bounds, ("random play",)),
    Rule("finite", episode_checks.finite, ("random play",)),
    Rule("valid actions", episode_checks.valid_actions, ("random play",)),
    Rule("determinism", episode_checks.determinism, ("random play",)),
    Rule("episodes", episode_checks.episodes, ("random play",)),
    Rule("after the end", episode_checks.after_the_end, ("finite",)),
    Rule("no auto-reset", episode_checks.no_auto_reset, ("random play",)),
)
"""All rules, in their order; a rule comes after those that it needs."""
