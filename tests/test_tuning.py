"""Tuning: halving, objectives, shared storages, resume, the command."""

import csv
import dataclasses
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from rich.console import Console

import purejaxppo as ppo
from envs import probes
from purejaxppo import reliability
from purejaxppo.cli import devices, entry_point
from purejaxppo.cli import tune as tune_room
from purejaxppo.config.fields import replace
from purejaxppo.study import LogUniform, Study, Uniform
from purejaxppo.study.execution.segments import Segment
from purejaxppo.study.storage import files
from purejaxppo.tuning import Search, ownership, pools, search_space, tune
from purejaxppo.tuning import search as search_room
from purejaxppo.tuning import trials as trials_room
from purejaxppo.tuning.confirmation import compared
from purejaxppo.tuning.halving import rung_stops, survivors
from purejaxppo.tuning.objectives import CELLS, FINAL, check_goal, make_goal
from purejaxppo.tuning.search_space import USUAL, make_space, params_of, told

CONFIG = ppo.Config(
    total_timesteps=8 * 16,
    num_envs=2,
    num_steps=4,
    num_epochs=1,
    num_minibatches=1,
    network=ppo.NetworkConfig(widths=(8,)),
)
SPACE = {"learning_rate": LogUniform(3e-4, 0.3), "ent_coef": Uniform(0.0, 0.02)}
OPTIONS = {
    "objective": "mean",
    "num_configs": 4,
    "batch": 4,
    "num_seeds": 2,
    "num_rungs": 3,
    "sampler": "random",
    "confirm_seeds": 0,
}


def search(**changes):
    return Search(CONFIG, probes.Match(), SPACE, **{**OPTIONS, **changes})


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Sizes of the programs: all searches here are of one config, so each is once."""
    programs, compile_programs = {}, pools.compile_programs

    def once(algorithm, values, num_runs, num_updates):
        assert (set(values), num_updates) == (set(SPACE), CONFIG.num_updates)
        if num_runs not in programs:
            programs[num_runs] = compile_programs(
                algorithm, values, num_runs, num_updates
            )
        return programs[num_runs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "compile_programs", once)
        yield programs


@pytest.fixture(scope="module")
def found(compiled):
    """A search in memory, the sizes of its programs, and its steps as it went."""
    steps = []
    tuned = search().run(on_progress=lambda p: steps.append(p.env_steps))
    return tuned, list(compiled), steps


def by_number(tuned):
    return {trial.number: trial for trial in tuned.trials}


def test_survivors_are_the_best_share_rounded_up_and_the_first_of_equal_ones():
    worth = {3: (1.0, 0.0), 5: (1.0, 2.0), 6: (1.0, 2.0), 8: (0.5, 9.0), 9: (-1.0, 0.0)}
    assert survivors(worth, 2) == [3, 5, 6]
    assert survivors(worth, 3) == [5, 6]
    assert survivors(worth, 5) == [5]
    assert survivors({2: (-np.inf,)}, 4) == [2]


def test_nobody_is_pruned_before_anything_is_known_of_anyone():
    nothing = -np.inf, -np.inf
    assert survivors({3: nothing, 5: nothing, 8: nothing}, 2) == [3, 5, 8]
    assert survivors({3: nothing, 5: (-np.inf, -200.0), 8: nothing}, 3) == [5]


def test_a_rung_before_the_end_of_an_episode_prunes_nothing(monkeypatch):
    """Not even by the order of the trials, of which the default's is the first."""
    curves = pools.Pool.curves

    def late(self, number):
        return np.where(np.arange(self.update) < 8, np.nan, curves(self, number))

    monkeypatch.setattr(pools.Pool, "curves", late)
    tuned = search().run()
    assert [trial.updates for trial in tuned.trials] == [16] * 4
    assert tuned.trials[0].rungs[:2] == (-np.inf, -np.inf)


def test_rungs_are_shares_of_the_updates():
    assert rung_stops(976, 4, 2) == [122, 244, 488, 976]
    assert rung_stops(27, 3, 3) == [3, 9, 27]
    assert rung_stops(1, 1, 2) == [1]


def test_pruned_trials_cost_no_more_updates(found):
    """16 updates, rungs after 4, 8 and 16: four settings, then two, then one."""
    tuned, sizes, steps = found
    assert sorted(trial.updates for trial in tuned.trials) == [4, 4, 8, 16]
    states = [trial.state for trial in tuned.trials]
    assert states == ["complete", "pruned", "pruned", "pruned"]
    assert [len(trial.rungs) for trial in tuned.trials] == [3, 2, 1, 1]
    assert tuned.env_steps == 2 * 8 * (4 * 4 + 2 * 4 + 1 * 8) == steps[-1]
    assert sum(trial.env_steps for trial in tuned.trials) == tuned.env_steps
    assert sizes == [8, 4, 2]  # Two seeds each: the programs shrink, too.


def test_trials_are_what_training_them_alone_gives(found):
    tuned, _, _ = found
    assert tuned.best.number != 0  # Its rows were moved to the front.
    of_best, of_second = tuned.trials[:2]
    grid = [of_best.setting, of_second.setting]
    alone = Study(CONFIG, probes.Match(), 2, grid=grid).run()["episode_return"].values
    pairs = (of_best, alone[:2], (4, 8, 16)), (of_second, alone[2:], (4, 8))
    for trial, returns, stops in pairs:
        for stop, value in zip(stops, trial.rungs, strict=True):
            curves = returns[:, :stop].astype(float)
            scores = reliability.final_performance(curves)
            assert value == pytest.approx(np.mean(scores), abs=1e-6)
        curves = returns[:, : stops[-1]]
        assert trial.mean_return == pytest.approx(np.nanmean(curves), abs=1e-6)
    assert tuned.config == replace(CONFIG, of_best.setting)


def test_the_default_is_tried_first_and_draws_repeat(found):
    tuned, _, _ = found
    setting = by_number(tuned)[0].setting
    assert setting == {"learning_rate": 5e-4, "ent_coef": 0.01}
    again = search().run()
    assert again.trials == tuned.trials


def test_two_workers_share_a_storage(found, tmp_path):
    """The second goes on where the first stopped, with what it would have drawn."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one = search(storage=url, num_configs=2, batch=2).run()
    two = search(storage=url).run()
    assert len(one.trials) == 2
    assert len(two.trials) == 4
    assert by_number(two)[0] == by_number(one)[0]
    drawn = {number: trial.setting for number, trial in by_number(two).items()}
    assert drawn == {n: trial.setting for n, trial in by_number(found[0]).items()}
    none = search(storage=url).run()
    assert none.env_steps == 0 and none.trials == two.trials


WORKER = """
import sys
from purejaxppo.study import Uniform
from purejaxppo.tuning.trials import Ledger, open_study, quiet
with quiet():
    study = open_study(sys.argv[1], "shared", True, {"env": "Match"})
    ledger = Ledger(study, {"gamma": Uniform(0.0, 1.0)}, "tpe", 0)
    ledger.begin(None)
    asked = ledger.ask(6)
    for number in asked:
        ledger.report(number, 1, float(number))
        ledger.close(number, float(number))
print(*asked)
"""


def test_workers_at_the_same_time_take_different_trials(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    command = [sys.executable, "-c", WORKER, url]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdout=pipe, stderr=pipe) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    numbers = [int(number) for out, _ in outputs for number in out.split()]
    assert sorted(numbers) == list(range(12))
    with trials_room.quiet():
        study = optuna.load_study(study_name="shared", storage=url)
        drawn = {trial.params["gamma"] for trial in study.trials}
    assert len(drawn) == 12


@pytest.mark.parametrize("killed", [True, False])
def test_a_search_that_was_stopped_goes_on(killed, tmp_path, monkeypatch):
    """Killed, it could not even say that its trials had failed."""

    def stop(progress):
        if progress.rung == 2:
            raise KeyboardInterrupt

    url = f"sqlite:///{tmp_path / 'stopped.db'}"
    with monkeypatch.context() as patch:
        if killed:
            patch.setattr(trials_room.Ledger, "fail", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            search(storage=url).run(on_progress=stop)
    with trials_room.quiet():
        (name,) = optuna.get_all_study_names(url)
        left = optuna.load_study(study_name=name, storage=url).trials
    # Two were pruned at the first rung, as they had been told to be.
    states = sorted(trial.state.name for trial in left)
    assert states == [*["FAIL", "FAIL"] * (not killed), "PRUNED", "PRUNED"] + (
        ["RUNNING", "RUNNING"] * killed
    )
    tuned = search(storage=url).run()
    states = [trial.state for trial in tuned.trials]
    assert states.count("fail") == 2
    assert len(states) - states.count("fail") == 4
    assert tuned.best.state == "complete"


def test_the_default_is_tried_again_where_nothing_else_was():
    with trials_room.quiet():
        study = optuna.create_study()
        for _ in range(2):
            ledger = trials_room.Ledger(study, make_space(CONFIG, SPACE), "random", 0)
            ledger.begin({"learning_rate": 5e-4, "ent_coef": 0.01})
            asked = list(ledger.ask(2).values())
            assert asked[0] == {"learning_rate": 5e-4, "ent_coef": 0.01} != asked[1]
            ledger.fail()
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4


def test_who_is_dead():
    host, now = socket.gethostname(), time.time()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert trials_room.is_dead(f"{host}:{gone.pid}:ab", now)
    assert trials_room.is_dead(f"{host}:{os.getpid()}:ab", now)
    assert not trials_room.is_dead(f"{host}:{os.getppid()}:ab", now)
    assert not trials_room.is_dead("elsewhere:1:ab", now)
    assert trials_room.is_dead("elsewhere:1:ab", now - 3600)


def test_a_setting_that_failed_is_tried_again_but_not_for_ever():
    with trials_room.quiet():
        study = optuna.create_study()

        def ledger():
            return trials_room.Ledger(study, make_space(CONFIG, SPACE), "random", 0)

        first = ledger()
        drawn = first.ask(3)
        first.close(1)  # Pruned: it stays what it is.
        first.fail()
        for _ in range(trials_room.MOST_FAILURES - 1):
            worker = ledger()
            again = list(worker.ask(3).values())
            assert again[:2] == [drawn[0], drawn[2]] and again[2] not in drawn.values()
            worker.close(max(worker.open))
            worker.fail()
        assert all(s not in drawn.values() for s in ledger().ask(3).values())


def test_a_worker_that_is_stopped_while_it_asks_leaves_nothing(monkeypatch):
    def stop(trial, space):
        if trial.number == 2:
            raise KeyboardInterrupt

    with trials_room.quiet():
        study = optuna.create_study()
    monkeypatch.setattr(Search, "open", lambda self: study)
    monkeypatch.setattr(trials_room, "suggest", stop)
    with pytest.raises(KeyboardInterrupt):
        search().run()
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3


def test_a_trial_whose_worker_was_killed_before_it_said_so_is_buried(monkeypatch):
    with trials_room.quiet():
        study = optuna.create_study()
        study.ask()
        ledger = trials_room.Ledger(study, make_space(CONFIG, SPACE), "random", 0)
        ledger.bury()
        assert len(ledger.trials("RUNNING")) == 1  # It may be about to.
        monkeypatch.setattr(trials_room, "SILENT_SECONDS", -1.0)
        ledger.bury()
        assert [trial.state.name for trial in ledger.trials()] == ["FAIL"]


def test_one_of_two_workers_that_end_together_confirms(tmp_path, monkeypatch):
    """The other one is at work when this one ends, and ends while this one writes."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    options = {"storage": url, "num_configs": 2, "batch": 2}
    search(**options).run()
    with trials_room.quiet():
        other = search(**options).open()
        other.ask().set_user_attr("worker", "elsewhere:1:ab")
        other.set_user_attr("worker elsewhere:1:ab", time.time())

    def written(self, tuned):
        other.tell(2, state=optuna.trial.TrialState.PRUNED, skip_if_finished=True)
        return tuned

    monkeypatch.setattr(Search, "_written", written)
    monkeypatch.setattr(search_room, "confirm", lambda *_: pytest.fail("Both confirm."))
    assert search(**options, confirm_seeds=2).run().confirmation is None


def test_a_worker_without_anything_to_do_says_who_is_at_work(monkeypatch):
    with trials_room.quiet():
        study = optuna.create_study()
        study.ask().set_user_attr("worker", "elsewhere:1:ab")
        study.set_user_attr("worker elsewhere:1:ab", time.time())
    monkeypatch.setattr(Search, "open", lambda self: study)
    message = r"got none of 1, 1 of which other workers are at; run it again then\."
    with pytest.raises(ValueError, match=message):
        search(num_configs=1).run()


def test_an_output_is_of_one_search(tmp_path):
    facts = {"env": "A", "space gamma": "0.9,1"}
    ownership.claim(tmp_path, "a", facts)
    ownership.claim(tmp_path, "a", facts)
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]
    with pytest.raises(ValueError, match=r"to be the study 'b''s, but it is 'a''s; an"):
        ownership.claim(tmp_path, "b", facts)
    with pytest.raises(ValueError, match=r"its env is 'A' and here it is 'B'; another"):
        ownership.claim(tmp_path, "a", {**facts, "env": "B"})
    with pytest.raises(ValueError, match="to hold no search, but it does; another --o"):
        ownership.check_no_search(tmp_path)
    (tmp_path / "search.json").write_text("{")
    with pytest.raises(ValueError, match=r"search\.json to say whose the output is"):
        ownership.claim(tmp_path, "a", facts)


def test_an_output_is_a_search_s_or_a_study_s(capsys, tmp_path):
    output = ("--output", str(tmp_path))
    files.write_job(tmp_path, files.Job("CartPole-v1", 1, 0, ppo.Config()))
    assert fails(capsys, "tune", "CartPole-v1", *output) == (
        f"Expected output {tmp_path} to hold no study, but it does; another --output "
        "begins the search."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    files.remove(tmp_path / "config.toml")
    ownership.claim(tmp_path, "a", {})
    assert fails(capsys, "train", "CartPole-v1", *output) == (
        f"Expected output {tmp_path} to hold no search, but it does; another --output "
        "begins the study."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]


def test_cma_es_learns_from_what_was_pruned():
    with trials_room.quiet():
        study = optuna.create_study(direction="maximize")
        space = {"a": Uniform(0.0, 1.0), "b": Uniform(0.0, 1.0)}
        ledger, means = trials_room.Ledger(study, space, "cmaes", 0), []
        for _ in range(5):
            asked = ledger.ask(16)
            worth = {n: -abs(s["a"] - 0.1) - s["b"] for n, s in asked.items()}
            best = max(worth, key=lambda number: worth[number])
            for number, value in worth.items():
                ledger.report(number, 1, value)
                ledger.close(number, value if number == best else None)
            means.append(np.mean(list(worth.values())))
    assert means[-1] > means[0] + 0.3


def test_a_trial_that_others_took_for_dead_stays_failed():
    with trials_room.quiet():
        study = optuna.create_study()
        ledger = trials_room.Ledger(study, make_space(CONFIG, SPACE), "random", 0)
        (number,) = ledger.ask(1)
        study.tell(number, state=optuna.trial.TrialState.FAIL)
        ledger.report(number, 1, 2.0, updates=4)
        ledger.close(number, 2.0)
    assert [trial.state.name for trial in study.trials] == ["FAIL"]


# --- Objectives -----------------------------------------------------------------------

SCORES = np.array([3.0, 9.0, 1.0, 5.0, 8.0, 2.0, 7.0, 4.0])
STEPS = np.arange(1, 61)


def curves_of(scores, updates=60):
    """Runs that end at their scores: the last tenth is constant."""
    rise = np.minimum(1.0, np.arange(1, updates + 1) / (0.9 * updates))
    return np.asarray(scores)[:, None] * rise


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", 39 / 8),
        ("median", 4.5),
        ("iqm", (3 + 4 + 5 + 7) / 4),
        ("cvar", (1 + 2) / 2),
        ("worst", 1.0),
        ("optimality_gap", (3 + 5 + 1 + 4 + 2) / 8),
    ],
)
def test_objectives_of_final_returns(name, expected):
    target = 6.0 if name == "optimality_gap" else None
    goal = make_goal(name, 0.25, target)
    assert goal.value(STEPS, curves_of(SCORES)) == pytest.approx(expected)
    assert goal.higher_is_better is (name != "optimality_gap")


@pytest.mark.parametrize("name", CELLS)
def test_objectives_of_dispersion_and_risk_are_the_mean_of_the_cell(name):
    noise = np.random.default_rng(0).normal(size=(8, 60))
    curves = curves_of(SCORES + 10) + noise
    runs = reliability.Runs("a", "b", STEPS, curves, np.arange(8))
    cells = reliability.cell_intervals(0, runs, num_resamples=10)
    expected = np.mean(cells[name].estimate)
    if name == "dispersion_across_time":  # Of each run the mean, of these the median.
        within = reliability.cells_within_runs(STEPS, curves).dispersion_across_time
        expected = np.median(np.mean(within, axis=1))
    goal = make_goal(name)
    found = goal.value(STEPS, curves)
    if np.isnan(expected):
        expected = goal.worst
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", [*FINAL, *CELLS])
def test_runs_without_a_return_count_as_the_worst(name):
    curves = curves_of(SCORES) + np.random.default_rng(1).normal(size=(8, 60))
    goal = make_goal(name, 0.25, 6.0 if name == "optimality_gap" else None)
    curves[1] = np.nan  # The best one.
    missing = goal.value(STEPS, curves)
    if name in ("mean", "cvar", "worst", "optimality_gap"):
        assert missing == goal.worst
    elif name in ("iqm", "median"):  # A run of the best half is now the worst.
        assert missing < goal.value(STEPS, np.delete(curves, 1, axis=0)) < np.inf
    assert goal.value(STEPS, np.full((8, 60), np.nan)) == goal.worst


def test_a_run_that_diverged_has_no_return():
    finite = np.ones((2, 3), bool)
    finite[1, 1:] = False
    found = pools.usable(np.ones((2, 3)), finite)
    np.testing.assert_array_equal(found, [[1, 1, 1], [np.nan] * 3])


def test_a_mask_that_allows_nothing_is_told_with_its_update(monkeypatch):
    pool = object.__new__(pools.Pool)
    monkeypatch.setattr(pool, "_named", str)
    segment = Segment(5, 7, {"num_fully_masked": np.array([[0, 3]])})
    with pytest.raises(ValueError, match="at 3 steps of update 6 of 0"):
        pool._take(segment, {})


def test_the_confirmation_compares_both_on_all_seeds():
    seeds = np.arange(8)
    good, bad = (STEPS, curves_of(SCORES + 10)), (STEPS, curves_of(SCORES))
    found = compared(bad, good, make_goal("cvar"), seeds)
    assert found.best.estimate == pytest.approx(11.5)
    assert found.default.estimate == pytest.approx(1.5)
    assert found.difference.estimate == pytest.approx(10)
    assert found.difference.low > 0
    assert found.default.low <= 1.5 <= found.default.high
    assert found.improvement.estimate == 1
    np.testing.assert_allclose(found.best_scores, SCORES + 10)
    gap = compared(bad, good, make_goal("optimality_gap", target=20.0), seeds)
    assert gap.difference.estimate == pytest.approx(10)  # Lower, so better.
    same = compared(bad, bad, make_goal("mean"), seeds)
    assert same.difference.low < 0 < same.difference.high
    assert same.improvement.estimate == 0.5


# --- Spaces ---------------------------------------------------------------------------


def test_the_usual_space_leaves_out_what_is_off():
    assert make_space(CONFIG, None) == dict(USUAL)
    without = replace(CONFIG, {"clip_eps": None, "max_grad_norm": None})
    assert make_space(without, None).keys() == USUAL.keys() - {
        "clip_eps",
        "max_grad_norm",
    }


def test_listed_values_are_checked_together_beside_many_ranges():
    """Each is right by itself: 3 x 4, 2 x 3 and 2 x 4 steps halve, 3 x 3 do not."""
    listed = {"num_envs": [2, 3], "num_steps": [4, 3], "num_minibatches": [1, 2]}
    space = {**USUAL, "gamma": Uniform(0.9, 1.0), **listed}
    assert 2 ** len(space) > search_space.MOST_CHECKED
    with pytest.raises(ValueError, match="Expected num_minibatches to divide"):
        make_space(CONFIG, space)


def test_values_that_optuna_does_not_know_go_by_their_labels():
    given = {"network.widths": [(8,), (8, 8)], "normalize_reward": [False, True]}
    space = make_space(CONFIG, given)
    assert params_of(space, CONFIG) == {
        "network.widths": "8",
        "normalize_reward": False,
    }
    assert told(space) == {"network.widths": "8;8,8", "normalize_reward": "false,true"}
    with trials_room.quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        ledger = trials_room.Ledger(study, space, "random", 0)
        drawn = ledger.ask(12).values()
    assert {setting["network.widths"] for setting in drawn} == {(8,), (8, 8)}
    assert {setting["normalize_reward"] for setting in drawn} == {False, True}


def test_values_of_numpy_are_those_of_python():
    space = make_space(
        CONFIG, {"gamma": np.array([0.9, 0.99]), "num_envs": [np.int64(2)]}
    )
    assert space == {"gamma": (0.9, 0.99), "num_envs": (2,)}
    kinds = [type(value) for values in space.values() for value in values]
    assert kinds == [float, float, int]
    facts = search().facts
    config = replace(CONFIG, {"vf_coef": np.float32(0.5)})
    assert dataclasses.replace(search(), config=config).facts["config vf_coef"] == 0.5
    assert json.loads(json.dumps(facts)) == facts


# --- Bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "cvarr"}, "Unknown objective 'cvarr'; nearest: cvar."),
        ({"objective": "optimality_gap"}, "Expected objective_target to be given for"),
        ({"objective_target": 1.0}, "optimality_gap alone, got 1 for mean."),
        ({"objective": "cvar"}, "Expected num_seeds to be at least 4, for a tail of"),
        ({"alpha": 0.7}, "Expected alpha to be in (0, 0.5], got 0.7."),
        ({"objective": "short_term_risk"}, "enough updates and seeds for short_term"),
        ({"num_rungs": 6}, "at least 32 updates, for 6 rungs of eta = 2, got 16."),
        ({"num_configs": 0}, "Expected num_configs to be an integer >= 1, got 0."),
        ({"eta": 1}, "Expected eta to be an integer >= 2, got 1."),
        ({"sampler": "tpee"}, "Unknown sampler 'tpee'; nearest: tpe."),
        ({"space": {}}, "Expected at least one field to be tuned, got none."),
        ({"space": {"gama": (0.9, 1.0)}}, "Unknown config field 'gama'; nearest: gam"),
        (
            {"space": {"env.length": (1, 2)}},
            "Expected fields of the config to be",
        ),
        (
            {"space": {"gamma": []}},
            "Expected gamma to have at least one value",
        ),
        ({"space": {"gamma": Uniform(1, 0)}}, "range of gamma to be low < high"),
        (
            {"space": {"gamma": Uniform(0, 2)}},
            "gamma to be in [0, 1], got 2.0",
        ),
        ({"space": {"num_minibatches": [1, 3]}}, "Expected num_minibatches to divide"),
        (
            {"space": {"num_steps": Uniform(4, 8)}},
            "num_steps, a whole number, to be dra",
        ),
        ({"confirm_seeds": 2**21}, "at most 1,048,576 runs, got 2,097,152."),
        (
            {"seed": 2**32 - 3, "confirm_seeds": 2},
            "to be below 4294967296, got 4294967",
        ),
        (
            {"objective": "risk_across_runs", "num_seeds": 20, "num_rungs": 1}
            | {"confirm_seeds": 2},
            "of 16 updates and 2 seeds",
        ),
        ({"num_seeds": 0}, "Expected num_seeds to be in [1,"),
        ({"storage": "sqlite:////nowhere/a.db"}, "Expected storage to be one that Opt"),
        ({"storage": "nonsense"}, "Expected storage to be one that Optuna can open"),
        ({"output": "/dev/null/tune"}, "output /dev/null/tune to be a directory"),
    ],
)
def test_bad_searches_are_one_line(changes, message):
    options = {**OPTIONS, **{k: v for k, v in changes.items() if k != "space"}}
    with pytest.raises(ValueError) as error:
        tune(CONFIG, probes.Match(), changes.get("space", SPACE), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["optuna", "cmaes"])
def test_a_missing_package_is_one_line(missing, monkeypatch):
    real = importlib.util.find_spec
    fake = lambda name, *rest: None if name == missing else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", fake)
    with pytest.raises(ValueError, match=f"Expected the package {missing} to be inst"):
        search(sampler="cmaes" if missing == "cmaes" else "tpe")


def test_a_goal_needs_enough_of_each_rung():
    check_goal(make_goal("short_term_risk"), 4, [21, 42])
    with pytest.raises(ValueError, match="one of 20 updates and 4 seeds"):
        check_goal(make_goal("short_term_risk"), 4, [20, 40])


# --- The command ----------------------------------------------------------------------

TINY = (
    *("--total-timesteps", "128", "--num-envs", "2", "--num-steps", "4"),
    *("--num-epochs", "1", "--num-minibatches", "1", "--network.widths", "8"),
    *("--num-configs", "4", "--batch", "4", "--rungs", "3", "--num-seeds", "2"),
    *("--objective", "mean", "--sampler", "random", "--confirm-seeds", "2"),
    *("--sample", "learning_rate=log(3e-4,.3)", "--sample", "ent_coef=linear(0,.02)"),
)


@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)


def fails(capsys, *arguments):
    assert entry_point.main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("purejaxppo: error: ")


def test_the_command_leaves_what_it_found(found, tmp_path, capsys):
    output = tmp_path / "tune"
    command = ("tune", "envs.probes:Match", *TINY, "--output", str(output))
    assert entry_point.main(command) == 0
    out = capsys.readouterr().out
    assert "\n\n\n" not in out  # Which a bar that is stopped again and again leaves.
    printed = " ".join(out.split())
    best = found[0].best
    assert f"(trial {best.number})" in printed
    assert "is optimistic" in printed and "On 2 fresh seeds the best" in printed
    job = files.read_job(output / "best.toml")
    assert job.config.learning_rate == best.setting["learning_rate"]
    assert (job.env, job.num_seeds, job.seed) == ("envs.probes:Match", 2, 2)
    with (output / "tune.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["updates"]) for row in rows] == [16, 8, 4, 4]
    assert float(rows[0]["mean"]) == best.value == float(rows[0]["rung_3"])
    assert "## Confirmation" in (output / "tune.md").read_text()
    assert (output / "tune.png").stat().st_size > 5_000
    kept = {path.name for path in (output / "confirm").iterdir()}
    assert kept == {"default", f"trial-{best.number}"}
    assert files.read_results(output / "confirm" / "default").seed.values.tolist() == [
        2,
        3,
    ]

    again = fails(capsys, *command, "--eta", "3", "--rungs", "2")
    assert "Expected the study 'envs.probes:Match' to be of the same search" in again
    assert "its num_rungs is 3 and here it is 2" in again


def test_values_are_shown_whole(found):
    setting = {"learning_rate": 0.0006793, "ent_coef": 0.01234}
    trials = [trial._replace(setting=setting) for trial in found[0].trials]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tune_room.render_tuned(found[0]._replace(trials=trials)))
    text = console.export_text()
    assert "learning_rate=0.0006793" in text and "ent_coef=0.01234" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CartPol-v1", "--num-configs", "1"), "Unknown environment 'CartPol-v1'"),
        ((), "Expected an environment"),
        (("CartPole-v1", "--sample", "gama=1,2"), "Unknown config field 'gama'"),
        (("CartPole-v1", "--sample", "gamma"), "--sample to be FIELD=VALUE,VALUE"),
        (("CartPole-v1", "--sample", "gamma=log(1)"), "the range of gamma to be log("),
        (("CartPole-v1", "--sample", "gamma=log(.9,1,3)"), "range of gamma, which is"),
        (
            ("CartPole-v1", *["--sample", "gamma=.9,1"] * 2),
            "in --sample, got gamma twice.",
        ),
        (("CartPole-v1", "--objectiv", "iqm"), "nearest: objective"),
        (("CartPole-v1", "--objective", "icvar"), "Unknown objective 'icvar'; nearest"),
        (
            ("CartPole-v1", "--total-timesteps", "2048"),
            "at least 8 updates, for",
        ),
        (("CartPole-v1", "--preset", "sb4"), "Unknown preset 'sb4'; nearest: sb3"),
        (
            ("CartPole-v1", "--num-rungs", "0"),
            "Expected num_rungs to be an integer >= 1, got 0.",
        ),
        (
            ("CartPole-v1", "--objective", "optimality_gap"),
            "Expected objective_target to be given for optimality_gap, got none; "
            "--objective-target SCORE gives it.",
        ),
        (
            ("CartPole-v1", "--objective-target", "3"),
            "Expected objective_target to be given for optimality_gap alone, got 3 for",
        ),
    ],
)
def test_bad_commands_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, "tune", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_config_with_a_grid_is_refused(capsys, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('env = "CartPole-v1"\n[grid]\ngamma = [0.9, 0.99]\n')
    assert "to be of one setting, got a grid of 2." in fails(
        capsys, "tune", "--config", str(path)
    )


def test_nothing_that_was_trained_to_its_end_is_an_error(monkeypatch):
    monkeypatch.setattr(search_room._Work, "run", lambda self: None)
    with pytest.raises(ValueError, match=r"trained to its end, got none of 0\."):
        search().run()


def test_the_command_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def stop(self, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", stop)
    output = ("--output", str(tmp_path))
    assert entry_point.main(("tune", "envs.probes:Match", *TINY, *output)) == 130
    assert "the same command goes on" in capsys.readouterr().out
