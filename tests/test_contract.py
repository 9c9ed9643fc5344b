"""Training refuses nothing that `check_environment` passes."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import purejaxppo as ppo
from purejaxppo.checks import check_environment

CONFIG = ppo.Config(
    total_timesteps=8,
    num_envs=2,
    num_steps=4,
    num_epochs=1,
    num_minibatches=1,
    network=ppo.NetworkConfig(widths=()),
)


class Params(NamedTuple):
    length: Any = 5


@dataclasses.dataclass
class Breakable:
    """An environment each of whose values can be replaced, from `reset` or `step`."""

    faults: dict[str, Any]

    def broken(self, name, value) -> Any:
        fault = self.faults.get(name, _nothing)
        if callable(fault):
            return value if fault is _nothing else fault(value)
        return fault

    @property
    def default_params(self) -> Any:
        return self.broken("default_params", Params())

    def reset(self, key, params) -> Any:
        obs = self.broken("reset.obs", jnp.zeros(2))
        state = {"time": jnp.int32(0), "at": jax.random.uniform(key)}
        return self.broken("reset", (obs, self.broken("reset.state", state)))

    def step(self, key, state, action, params) -> Any:
        after = {**state, "time": state["time"] + 1}
        step = ppo.Step(
            obs=self.broken("step.obs", jnp.ones(2)),
            state=self.broken("step.state", after),
            reward=self.broken("step.reward", state["at"]),
            terminated=self.broken("step.terminated", after["time"] >= 5),
            truncated=self.broken("step.truncated", jnp.bool_(False)),
            info=self.broken("step.info", {}),
        )
        return self.broken("step", step)

    def observation_space(self, params) -> Any:
        return self.broken("observation_space", spaces.Box(0, 1, (2,)))

    def action_space(self, params) -> Any:
        return self.broken("action_space", spaces.Discrete(2))


def _nothing(value):
    return value


def raising(value):
    raise KeyError("lost")


def branching(value):
    return value if value > 0 else -value


def calling_out(value):
    like = jax.ShapeDtypeStruct((), jnp.float32)
    return jax.pure_callback(lambda x: np.float32(x), like, value)


TEXT = spaces.Text(3)
MASK = spaces.MultiBinary(3)
THINGS = {
    "None": None,
    "text": "text",
    "a list": [0.0, 1.0],
    "an object": object(),
    "an int": 3,
    "a large int": 2**40,
    "a bool": True,
    "complex": jnp.complex64(1j),
    "an array of text": np.array(["a", "b"]),
    "an array of objects": np.array([None, {}]),
    "int8": jnp.zeros(2, jnp.int8),
    "float16": jnp.zeros(2, jnp.float16),
    "a vector": jnp.zeros(3),
    "a matrix": jnp.zeros((2, 2)),
    "a key": jax.random.key(0),
    "a dict": {"a": jnp.zeros(2)},
    "a tuple": (jnp.zeros(2), jnp.zeros(2)),
    "a NaN": float("nan"),
    "raises": raising,
    "branches": branching,
    "calls out": calling_out,
    "Text": TEXT,
    "an empty Tuple": spaces.Tuple([]),
    "a tree": spaces.Dict(a=spaces.Tuple([spaces.Discrete(2), TEXT])),
    "a mask alone": spaces.Dict(action_mask=MASK),
    "a mask": spaces.Dict(a=spaces.Box(0, 1, (2,)), action_mask=MASK),
    "a Box of ints": spaces.Box(0, 3, (2,), np.int32),
    "a Box of bytes": spaces.Box(0, 255, (2,), np.uint8),
    "a Graph": spaces.Graph(spaces.Box(0, 1, (2,)), None),
    "a Sequence": spaces.Sequence(spaces.Discrete(2)),
}
PLACES = (
    *("default_params", "reset", "reset.obs", "reset.state", "step", "step.obs"),
    *("step.state", "step.reward", "step.terminated", "step.truncated"),
    *("observation_space", "action_space"),
)


def refusal(faults):
    """What training says of an environment; nothing where it would train."""
    try:
        algorithm = ppo.make_ppo(CONFIG, Breakable(faults))
        state = jax.eval_shape(algorithm.init, jax.random.key(0))
        jax.eval_shape(algorithm.step, state)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def assert_check_refuses_what_training_does(faults):
    said = refusal(faults)
    assert "\n" not in said
    if said:
        checks = check_environment(Breakable(faults), num_envs=2, num_steps=4)
        assert [check for check in checks if check.passed is False], said
    return bool(said)


@pytest.mark.parametrize("place", PLACES)
def test_check_refuses_what_training_refuses(place):
    refused = [
        assert_check_refuses_what_training_does({place: thing})
        for thing in THINGS.values()
    ]
    assert any(refused)


@settings(max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    st.dictionaries(
        st.sampled_from(PLACES), st.sampled_from(list(THINGS)), min_size=2, max_size=3
    )
)
def test_check_refuses_what_training_refuses_of_several_faults(faults):
    assert_check_refuses_what_training_does(
        {place: THINGS[name] for place, name in faults.items()}
    )


@pytest.mark.parametrize("thing", THINGS, ids=str)
def test_info_is_looked_at_by_nobody(thing):
    if not callable(THINGS[thing]):
        assert refusal({"step.info": THINGS[thing]}) == ""


def test_an_environment_without_a_fault_is_not_refused():
    assert refusal({}) == ""
    checks = check_environment(
        Breakable({"step.info": {"note": "text", "none": None}}),
        num_envs=2,
        num_steps=4,
    )
    assert [check for check in checks if not check.passed] == []
