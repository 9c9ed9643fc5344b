"""Exported policies: what is in the files, read without the library, and bad input."""

import json
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import purejaxppo as ppo
from purejaxppo.cli import devices, entry_point
from purejaxppo.cli.export import Export, run_export
from purejaxppo.environments.protocol import make_reset
from purejaxppo.export import export_policy, make_portable, read_policy
from purejaxppo.export.array_names import flat_names
from purejaxppo.export.files import digest
from purejaxppo.study.storage import disk
from tests import children
from tests.policies import leave, untrained

DOCS = Path(__file__).parents[1] / "docs" / "export.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE
)
LOADER = next(code for language, code in BLOCKS if language == "python")

NORMALISED = {"normalize_observation": ppo.ObservationNormalization()}
KINDS = {
    "box": ("Pendulum-v1", NORMALISED),
    "lstm": (
        "envs.velocities:HiddenVelocities",
        {"network.memory": "lstm", "network.memory.size": 4},
    ),
    "gru": (
        "envs.velocities:HiddenVelocities",
        {"network.memory": "gru", "network.memory.size": 4},
    ),
    "masked tree": ("envs.masked:Console", NORMALISED),
    "hybrid": ("envs.moving:Moving", {"normalize_value": "pop_art", "frame_stack": 2}),
}
FILES = {
    *("policy.json", "policy.stablehlo"),
    *("params.safetensors", "memory.safetensors"),
}


def fails(call, *arguments, **options):
    """The one line with which a call refuses."""
    with pytest.raises(ValueError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def observations(loaded, size):
    reset = make_reset(loaded.ppo.env, loaded.env_params)
    keys = jax.random.split(jax.random.key(1), size)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: reset(key).obs))(keys))


# --- Without the library ------------------------------------------------------------


READER = """
import os, pickle, sys
sys.modules["purejaxppo"] = None  # Importing it raises.
import numpy as np
loader = sys.stdin.read()
for folder in sys.argv[1:]:
    os.chdir(folder)
    exec(loader)
    with open("obs.pickle", "rb") as file:
        obs = pickle.load(file)
    memory = {name: np.repeat(x[None], 3, axis=0) for name, x in start.items()}
    steps = []
    for seed in (7, 8):
        greedy, sampled, memory = act(obs, memory, seed)
        steps.append(jax.tree.map(np.asarray, (greedy, sampled, memory)))
    with open("actions.pickle", "wb") as file:
        pickle.dump(steps, file)
assert not any(name.startswith("purejaxppo.") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Kind -> the study, its exported run, and what the docs' loader did with that."""
    folder = tmp_path_factory.mktemp("exports")
    studies = {kind: untrained(*given) for kind, given in KINDS.items()}
    places = {kind: folder / kind for kind in KINDS}
    for kind, loaded in studies.items():
        export_policy(loaded, 1, places[kind] / "policy")
        obs = observations(loaded, 3)
        (places[kind] / "obs.pickle").write_bytes(pickle.dumps(obs))
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, places.values())],
        input=LOADER,
        env=children.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return studies, places


@pytest.mark.parametrize("kind", KINDS)
def test_the_loader_of_the_docs_acts_as_the_study_bit_for_bit(kind, exports):
    loaded, folder = exports[0][kind], exports[1][kind]
    obs = pickle.loads((folder / "obs.pickle").read_bytes())
    found = pickle.loads((folder / "actions.pickle").read_bytes())
    policy, memory = loaded.policy(1), loaded.ppo.init_memory(3)

    @jax.jit
    def act(policy, obs, memory, key):
        greedy, after = loaded.ppo.act(policy, obs, memory)
        return greedy, loaded.ppo.act(policy, obs, memory, key)[0], after

    for seed, step in zip((7, 8), found, strict=True):
        greedy, sampled, memory = act(policy, obs, memory, jax.random.key(seed))
        wanted = greedy, sampled, flat_names(memory, "memory")
        jax.tree.map(np.testing.assert_array_equal, step, wanted)
        kinds = [[x.dtype for x in jax.tree.leaves(tree)] for tree in (step, wanted)]
        assert kinds[0] == kinds[1]


def test_the_policies_of_that_test_do_not_all_act_alike(exports):
    memories = {"lstm": {"memory.0", "memory.1"}, "gru": {"memory"}}
    for kind, folder in exports[1].items():
        steps = pickle.loads((folder / "actions.pickle").read_bytes())
        flat = [
            [np.concatenate([*map(np.ravel, jax.tree.leaves(part))]) for part in step]
            for step in [step[:2] for step in steps]
        ]
        greedy, sampled = zip(*flat, strict=True)
        assert (sampled[0] != sampled[1]).any(), kind
        assert (np.stack(sampled) != np.stack(greedy)).any(), kind
        assert set(steps[0][2]) == memories.get(kind, set())


# --- The files ----------------------------------------------------------------------


def test_the_files_say_what_they_hold(exports):
    loaded, folder = exports[0]["masked tree"], exports[1]["masked tree"] / "policy"
    assert {path.name for path in folder.iterdir()} == FILES
    facts = json.loads((folder / "policy.json").read_text())
    assert facts["env"] == "envs.masked:Console"
    assert (facts["run"], facts["seed"], facts["updates"]) == (1, 6, 10)
    assert facts["env_steps"] == 10 * 2 * 16
    assert facts["platforms"] == ["cpu", "cuda", "tpu"]
    assert facts["packages"]["jax"] == jax.__version__
    assert facts["packages"]["purejaxppo"] == ppo.__version__
    assert facts["action_space"] == repr(loaded.ppo.env.action_space(None))
    assert facts["finite"] is True

    params = safetensors.numpy.load_file(folder / "params.safetensors")
    wanted = flat_names(loaded.policy(1)._asdict())
    assert any(name.startswith("obs_statistics.") for name in wanted)
    jax.tree.map(np.testing.assert_array_equal, params, wanted)

    program = (folder / "policy.stablehlo").read_bytes()
    inputs = jax.export.deserialize(bytearray(program)).in_avals
    assert list(facts["inputs"].values()) == [
        f"{x.dtype}[{','.join(map(str, x.shape))}]" for x in inputs
    ]
    order = [*sorted(params), *flat_names(observations(loaded, 1), "obs"), "key"]
    assert list(facts["inputs"]) == order
    assert facts["inputs"]["obs.action_mask.lever"].endswith("[batch,8]")
    assert list(facts["outputs"])[:2] == ["greedy.lever", "greedy.slider"]
    for name in (str(Path.home()), str(Path(ppo.__file__).parent), "site-packages"):
        assert name.encode() not in program


def test_memory_and_stacked_frames_are_in_the_facts(exports):
    facts = read_policy(exports[1]["lstm"] / "policy").facts
    assert facts["inputs"]["memory.0"] == "float32[batch,4]"
    assert facts["outputs"]["memory.1"] == "float32[batch,4]"
    facts = read_policy(exports[1]["hybrid"] / "policy").facts
    assert facts["frame_stack"] == 2
    assert facts["inputs"]["obs"] == "float32[batch,20]"
    assert list(facts["outputs"]) == [
        *("greedy.0", "greedy.1", "sampled.0", "sampled.1")
    ]


def test_a_policy_that_was_read_acts_as_it_did(exports):
    loaded, folder = exports[0]["box"], exports[1]["box"]
    policy, obs = read_policy(folder / "policy"), observations(loaded, 1)
    key = jax.random.key(3)
    arguments = policy.params, obs, policy.memory, jax.random.key_data(key)
    greedy, sampled, _ = jax.jit(policy.call)(*arguments)
    wanted, _ = jax.jit(loaded.ppo.act)(loaded.policy(1), obs, (), key)
    np.testing.assert_array_equal(sampled, wanted)
    assert greedy.shape == (1, 1)


def test_names_that_would_be_lost_are_refused():
    tree = {"a.b": np.ones(1), "a": {"b": np.ones(2)}}
    assert fails(flat_names, tree, "params") == (
        "Expected each array to have a name of its own, got params.a.b twice."
    )


def number(obs):
    """A network that needs the number of its observations."""
    head = ppo.make_action_head(gymnasium.spaces.Discrete(2))
    return ppo.ActorCritic(
        init=lambda key, obs: {"kernel": jnp.ones((4, 2))},
        actor=lambda params, obs, memory: (
            head.distribution(
                obs.reshape(int(obs.shape[0]), 4) @ params["kernel"], None
            ),
            memory,
        ),
        critic=lambda params, obs, memory: (obs.sum(1), memory),
    )


def test_a_network_may_need_a_fixed_batch(tmp_path):
    loaded = untrained("CartPole-v1", network=number(4))
    message = fails(export_policy, loaded, 0, tmp_path / "policy")
    assert message.startswith(
        "Expected the policy to be lowered for batches of any size on cpu, cuda, tpu, "
        "got InconclusiveDimensionOperation: "
    )
    assert message.endswith("; a fixed size of the batch (--batch) may help.")
    assert list(tmp_path.iterdir()) == []
    export_policy(loaded, 0, tmp_path / "policy", batch=2, platforms=["cpu"])
    facts = read_policy(tmp_path / "policy").facts
    assert (facts["batch"], facts["inputs"]["obs"]) == (2, "float32[2,4]")
    assert facts["platforms"] == ["cpu"]


# --- Writing ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two runs on disk."""
    folder = tmp_path_factory.mktemp("study")
    return leave(folder / "cartpole", untrained("CartPole-v1"))


def export(study, **options):
    return run_export(Export(study, platforms="cpu", **options))


def test_export_says_what_it_left(study, tmp_path, capsys):
    assert export(study, run=1, output=tmp_path / "deep" / "policy") == 0
    printed = capsys.readouterr().out
    assert re.search(r"params\.safetensors +│ +\d+\.\d", printed)
    assert printed.endswith("\n") and "Policy in" in printed
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"policy"}
    params = read_policy(tmp_path / "deep" / "policy").params
    loaded = untrained("CartPole-v1")
    jax.tree.map(np.testing.assert_array_equal, params, make_portable(loaded, 1).params)


def test_an_export_is_replaced_only_if_asked_for(study, tmp_path):
    output = tmp_path / "policy"
    export(study, output=output)
    (output / "play.gif").touch()
    before = digest(output / "params.safetensors")
    assert fails(export, study, run=1, output=output) == (
        f"Expected output to hold no policy, but {output} does; overwrite replaces it."
    )
    assert digest(output / "params.safetensors") == before
    export(study, run=1, output=output, overwrite=True)
    assert digest(output / "params.safetensors") != before
    assert {path.name for path in output.iterdir()} == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"policy"}


def test_nothing_but_an_export_is_replaced(study, tmp_path):
    message = fails(export, study, output=study, overwrite=True)
    assert message == (
        f"Expected output {study} to hold nothing but an exported policy, got "
        "config.toml."
    )
    (tmp_path / "file").touch()
    message = fails(export, study, output=tmp_path / "file", overwrite=True)
    assert message.endswith("/file to be a directory, got a file.")


def test_what_fails_leaves_the_old_export(study, tmp_path, monkeypatch):
    output = tmp_path / "policy"
    export(study, output=output)
    before = {path.name: digest(path) for path in output.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save", full)
    with pytest.raises(disk.WriteError) as error:
        export(study, run=1, output=output, overwrite=True)
    told = f"{output} could not be written: No space left on device."
    assert str(error.value) == told
    assert {path.name: digest(path) for path in output.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"policy"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": 2}, "Expected run to be in [0, 2), got 2."),
        ({"run": -1}, "Expected run to be in [0, 2), got -1."),
        ({"batch": 0}, "Expected batch to be at least 1, got 0."),
        (
            {"platforms": "cpu,gpu"},
            "Expected platforms to be some of cpu, cuda, tpu, rocm, got gpu.",
        ),
        (
            {"platforms": ""},
            "Expected platforms to be some of cpu, cuda, tpu, rocm, got none.",
        ),
    ],
)
def test_bad_input_is_one_line(options, message, study, tmp_path):
    options = {"output": tmp_path / "policy", **options}
    assert fails(lambda: run_export(Export(study, **options))) == message
    assert list(tmp_path.iterdir()) == []


def test_a_study_with_damaged_policies_is_one_line(study, tmp_path):
    damaged = shutil.copytree(study, tmp_path / "study")
    path = damaged / "parameters" / "0"
    # Of a damaged array orbax's threads would complain after the test, too.
    (path / "_METADATA").write_text("{")
    message = f"Expected {path} as it was written, but it is damaged: "
    assert fails(export, damaged, output=tmp_path / "policy").startswith(message)


def test_a_directory_without_a_study_is_one_line(tmp_path):
    message = f"Expected a study in {tmp_path / 'none'}, found none."
    assert fails(export, tmp_path / "none", output=tmp_path / "policy") == message


@pytest.mark.parametrize("package", ["safetensors", "flatbuffers"])
def test_a_missing_package_is_named_with_its_extra(package, study, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    message = (
        f"Expected the package {package} to be installed, found none; "
        'pip install "purejaxppo[export]" brings it.'
    )
    assert fails(export, study, output=study.parent / "policy") == message
    assert fails(read_policy, study) == message


# --- Reading ------------------------------------------------------------------------


@pytest.fixture
def copy(exports, tmp_path):
    return shutil.copytree(exports[1]["box"] / "policy", tmp_path / "policy")


def change(copy, **facts):
    path = copy / "policy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_a_directory_without_a_policy(tmp_path):
    message = f"Expected an exported policy in {tmp_path}, found none."
    assert fails(read_policy, tmp_path) == message


def test_facts_that_are_none(copy):
    path = copy / "policy.json"
    facts = json.loads(path.read_text())
    change(copy, format=2)
    assert fails(read_policy, copy) == f"Expected format in {path} to be 1, got 2."
    path.write_text(json.dumps([facts]))
    assert fails(read_policy, copy) == f"Expected format in {path} to be 1, got None."
    path.write_text(json.dumps({k: v for k, v in facts.items() if k != "batch"}))
    assert fails(read_policy, copy) == f"Expected {path} to have batch, found none."
    path.write_text("{")
    assert fails(read_policy, copy).startswith(f"Expected {path} to be JSON: ")


def test_files_that_are_damaged_or_gone(copy):
    path = copy / "params.safetensors"
    wanted, data = digest(path), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert fails(read_policy, copy) == (
        f"Expected {path} to have the SHA-256 of policy.json, {wanted}, got "
        f"{digest(path)}."
    )
    path.unlink()
    assert fails(read_policy, copy) == f"Expected a file at {path}, found none."


def test_a_program_of_another_version(copy):
    path = copy / "policy.stablehlo"
    sums = json.loads((copy / "policy.json").read_text())["sha256"]
    path.write_bytes(bytes(100))
    change(copy, sha256={**sums, path.name: digest(path)}, packages={"jax": "9.0"})
    assert fails(read_policy, copy).startswith(
        f"Expected {path}, written by jax 9.0, to be of a version that jax "
        f"{jax.__version__} reads, got "
    )


# --- The page -----------------------------------------------------------------------


SMALLER = {
    r"--total-timesteps 500_000": "--total-timesteps 64 --num-envs 2 --num-steps 16 "
    "--num-minibatches 2 --network.widths 8",
    r"--num-seeds 8": "--num-seeds 4",
    r"(?m)(play .*)$": r"\1 --max-frames 5",
    r"--episodes 200": "--episodes 4",
    r"episodes=200": "episodes=4",
}


def shell(code):
    """Run the commands of a block here, each in the function that does it."""
    for line in code.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "purejaxppo"
        assert entry_point.main(arguments) == 0


def test_everything_on_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)
    monkeypatch.chdir(tmp_path)
    names, used = {}, set()
    for language, code in BLOCKS:
        for pattern, small in SMALLER.items():
            code, times = re.subn(pattern, small, code)
            used |= {pattern} if times else set()
        if language == "shell":
            shell(code)
        else:
            exec(compile(code, str(DOCS), "exec"), names)
    assert used == set(SMALLER)
    assert {language for language, _ in BLOCKS} == {"shell", "python"}
    assert names["greedy"].shape == names["sampled"].shape == (5,)
    assert {path.name for path in (tmp_path / "policy").iterdir()} == FILES
    gifs = {path.name for path in tmp_path.rglob("*.gif")}
    assert gifs == {"play.gif", "sampled.gif"}
    assert len([x for x in LOADER.splitlines() if x]) <= 10
    for file in FILES:
        assert f"`{file}`" in DOCS.read_text()
