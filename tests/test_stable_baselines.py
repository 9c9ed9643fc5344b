"""Stable-Baselines3's files: recognised, merged as documented, refused in one line."""

import json

import numpy as np
import pytest

from purejaxppo import results
from purejaxppo.cli import entry_point
from purejaxppo.results import ReadingWarning, read
from purejaxppo.results.stable_baselines import merge_monitors

PROGRESS = (
    "time/iterations,time/total_timesteps,train/loss,rollout/ep_rew_mean,"
    "eval/mean_reward\n"
    "1,2048,,21.5,\n"
    "1,2500,,,9.0\n"
    "2,4096,0.25,30.25,\n"
)


def leave(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def monitor(path, rows, start=0.0, env="CartPole-v1", extra=""):
    """A monitor's file of episodes (return, length, seconds since the start)."""
    header = json.dumps({"t_start": start, "env_id": env})
    lines = [f"#{header}", f"r,l,t{extra and ',' + extra}"]
    lines += [",".join(map(str, row)) + (extra and ",0") for row in rows]
    return leave(path, "\n".join(lines) + "\n")


def evaluations(path, steps, returns):
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.ones(np.shape(returns), int)
    np.savez(path, timesteps=steps, results=returns, ep_lengths=lengths)
    return path


def refused(path, **how):
    with pytest.raises(ValueError) as error:
        read(path, **how)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_monitor_has_a_point_for_each_episode_at_the_sum_of_lengths(tmp_path):
    path = monitor(tmp_path / "ppo" / "monitor.csv", [(9.0, 9, 0.1), (-1.5, 3, 0.2)])
    curve = merge_monitors([path])
    assert (curve.env_steps.tolist(), curve.values.tolist()) == ([9, 12], [9.0, -1.5])
    for where in (path, path.parent):
        with pytest.warns(ReadingWarning, match="^Uneven: .* means of 12 bins"):
            [runs] = read(where)
        assert (runs.algorithm, runs.task) == ("ppo", "CartPole-v1")
        assert runs.curves[0, [8, 11]].tolist() == [9.0, -1.5]
        assert runs.seeds.tolist() == [0]


def test_environments_of_one_run_are_merged_by_the_time_at_which_episodes_ended(
    tmp_path,
):
    """The second one began 10 s later; what else a monitor keeps is not read."""
    monitor(tmp_path / "0.monitor.csv", [(1.0, 10, 1.0), (2.0, 20, 12.0)], 100.0)
    monitor(
        tmp_path / "1.monitor.csv", [(3.0, 5, 1.0), (4.0, 7, 3.0)], 110.0, extra="x"
    )
    curve = merge_monitors(sorted(tmp_path.iterdir()))
    # At 101, 111, 112 and 113 s.
    assert curve.values.tolist() == [1.0, 3.0, 2.0, 4.0]
    assert curve.env_steps.tolist() == [10, 15, 35, 42]
    with pytest.warns(ReadingWarning) as caught:
        [alone] = read(tmp_path / "0.monitor.csv")
    assert any("One of 2 environments" in str(told.message) for told in caught)
    assert alone.env_steps[-1] == 30


def test_merging_keeps_each_environments_order_and_counts_each_step_once(tmp_path):
    """Against a slow merge; the third file's run went on, and its clock began anew."""
    draws = np.random.default_rng(0)
    episodes = []
    for env in range(3):
        seconds = draws.uniform(0, 9, 20).cumsum()
        if env == 2:
            seconds[10:] -= seconds[10]
        lengths = draws.integers(1, 50, 20)
        rows = [(100 * env + i, lengths[i], seconds[i]) for i in range(20)]
        monitor(tmp_path / f"{env}.monitor.csv", rows, start=5.0 * env)
        latest = -1.0
        for name, length, second in rows:
            latest = max(latest, second)
            episodes.append((5.0 * env + latest, env, name, length))
    expected = sorted(episodes, key=lambda episode: episode[0])
    curve = merge_monitors(sorted(tmp_path.iterdir()))
    assert curve.values.tolist() == [name for _, _, name, _ in expected]
    steps = np.cumsum([length for *_, length in expected])
    np.testing.assert_array_equal(curve.env_steps, steps)
    for env in range(3):
        own = [name for name in curve.values if name // 100 == env]
        assert own == sorted(own)


@pytest.mark.parametrize(
    ("folders", "algorithm", "seeds"),
    [
        (("ppo/seed_3", "ppo/seed_11"), "ppo", [3, 11]),
        (("ppo/2", "ppo/10"), "ppo", [2, 10]),
        (("ppo/PPO_1", "ppo/PPO_2"), "PPO", [1, 2]),
        (("ppo/CartPole-v1_1", "ppo/CartPole-v1_2"), "ppo", [1, 2]),
        (("ppo/first", "ppo/second"), "ppo", [0, 1]),
    ],
)
def test_several_seeds_are_several_folders(folders, algorithm, seeds, tmp_path):
    for number, folder in enumerate(folders):
        monitor(tmp_path / folder / "monitor.csv", [(number, 10, 1.0)])
    [runs] = read(tmp_path / "ppo")
    assert (runs.algorithm, runs.task) == (algorithm, "CartPole-v1")
    assert runs.seeds.tolist() == seeds
    assert runs.curves.tolist() == [[0.0], [1.0]]


def test_monitors_with_names_are_a_run_each(tmp_path):
    for seed in (1, 2):
        monitor(tmp_path / "logs" / f"a2c_{seed}.monitor.csv", [(seed, 10, 1.0)])
    [runs] = read(tmp_path / "logs")
    assert (runs.algorithm, runs.seeds.tolist()) == ("a2c", [1, 2])
    [one] = read(tmp_path / "logs" / "a2c_2.monitor.csv")
    assert (one.algorithm, one.seeds.tolist()) == ("a2c", [2])


def test_algorithms_and_tasks_of_one_folder_are_told_apart(tmp_path):
    for algorithm in ("ppo", "a2c"):
        for task in ("CartPole-v1", "Acrobot-v1"):
            path = tmp_path / "logs" / algorithm / f"{task}_1" / "0.monitor.csv"
            monitor(path, [(1.0, 10, 1.0)], env=task)
    found = [(runs.algorithm, runs.task) for runs in read(tmp_path / "logs")]
    assert sorted(found) == [
        ("a2c", "Acrobot-v1"),
        ("a2c", "CartPole-v1"),
        ("ppo", "Acrobot-v1"),
        ("ppo", "CartPole-v1"),
    ]


def test_progress_has_the_mean_return_at_all_steps(tmp_path):
    path = leave(tmp_path / "PPO_4" / "progress.csv", "\ufeff" + PROGRESS)
    for where in (path, path.parent):
        [runs] = read(where, task="Hop")
        assert (runs.algorithm, runs.task, runs.seeds.tolist()) == ("PPO", "Hop", [4])
        assert runs.env_steps.tolist() == [2048, 4096]
        assert runs.curves.tolist() == [[21.5, 30.25]]
    [runs] = read(path, task="Hop", tag="eval/mean_reward")
    assert (runs.env_steps.tolist(), runs.curves.tolist()) == ([2500], [[9.0]])
    older = leave(
        tmp_path / "b" / "progress.csv", "eprewmean,misc/total_timesteps\n3,64\n"
    )
    [runs] = read(older, task="Hop")
    assert (runs.env_steps.tolist(), runs.curves.tolist()) == ([64], [[3.0]])


def test_evaluations_have_the_mean_of_their_episodes(tmp_path):
    path = evaluations(
        tmp_path / "sac" / "evaluations.npz", [500, 1000], [[1, 2], [3, 7]]
    )
    for where in (path, path.parent):
        [runs] = read(where, task="Hop")
        assert (runs.algorithm, runs.task) == ("sac", "Hop")
        assert runs.env_steps.tolist() == [500, 1000]
        assert runs.curves.tolist() == [[1.5, 5.0]]


def test_the_task_of_all_kinds_is_that_of_a_monitor_beside(tmp_path):
    monitor(tmp_path / "monitor.csv", [(1.0, 10, 1.0)], env="Hop-v0")
    leave(tmp_path / "progress.csv", PROGRESS)
    evaluations(tmp_path / "evaluations.npz", [500], [[1.0]])
    for kind, returns in (("progress", 30.25), ("evaluations", 1.0)):
        [runs] = read(tmp_path, format=kind)
        assert (runs.task, runs.curves[0, -1]) == ("Hop-v0", returns)
    told = "format (--format) chooses what else it holds: progress, evaluations"
    with pytest.warns(ReadingWarning) as caught:
        [runs] = read(tmp_path)
    assert runs.env_steps.tolist() == [10]
    assert told in str(caught[0].message)
    assert len(caught) == 1


def test_a_table_or_scores_are_no_files_of_stable_baselines(tmp_path):
    table = leave(
        tmp_path / "runs.csv",
        "algorithm,task,seed,total_timesteps,episode_return\nppo,Hop,1,64,2\n",
    )
    [runs] = read(table, columns={"total_timesteps": "env_steps"})
    assert (runs.algorithm, runs.env_steps.tolist()) == ("ppo", [64])
    np.savez(tmp_path / "scores.npz", ppo=np.ones((2, 1)))
    assert read(tmp_path / "scores.npz")[0].algorithm == "ppo"


def test_a_run_that_was_killed_is_read_as_far_as_it_goes(tmp_path):
    path = monitor(tmp_path / "a" / "monitor.csv", [(1.0, 10, 1.0), (2.0, 20, 2.0)])
    path.write_text(path.read_text("utf-8") + "3.0,1", "utf-8")
    with pytest.warns(ReadingWarning, match="its last row is left out"):
        [runs] = read(path)
    assert runs.curves.tolist() == [[1.0, 2.0]]
    monitor(tmp_path / "b" / "monitor.csv", [])
    with pytest.warns(ReadingWarning) as caught:
        [runs] = read(tmp_path)
    assert any("Without a return: 1 of the 2 runs" in str(w.message) for w in caught)
    assert np.isnan(runs.curves[1]).all()


def test_what_files_do_not_tell_or_hold_is_one_line(tmp_path):
    run = tmp_path / "ppo"
    progress = leave(run / "progress.csv", PROGRESS)
    assert refused(progress) == (
        f"The name of {run} does not tell the task: give it as task (--task NAME), or "
        "give a pattern with a group (?P<task>...)."
    )
    assert refused(progress, task="Hop", tag="rollout/len") == (
        f"{progress} has no column for the return: none of rollout/len, but "
        "time/iterations, time/total_timesteps, train/loss, rollout/ep_rew_mean, "
        "eval/mean_reward."
    )
    path = monitor(run / "0.monitor.csv", [(1.0, 10, 1.0)])
    monitor(run / "1.monitor.csv", [(1.0, 10, 1.0)], env="Hop-v0")
    assert "one run, but there are CartPole-v1 in " in refused(run, format="monitor")
    (run / "1.monitor.csv").unlink()
    for rows, message in (
        ("9,x,1.0\n", f"Expected l in row 1 of {path} to be a number, got 'x'."),
        ("9,3,soon\n", f"Expected t in row 1 of {path} to be a number, got 'soon'."),
        ("9,0,1.0\n", f"Expected l in row 1 of {path} to be a whole number in [1,"),
        ("9\n9,3,1.0\n", f"Expected row 1 of {path} to have 3 cells, got 1."),
        ("", "Expected the runs of ppo on CartPole-v1 to have a return, got none."),
    ):
        leave(path, '#{"t_start": 0, "env_id": "CartPole-v1"}\nr,l,t\n' + rows)
        assert refused(path).startswith(message)
    for first in ("r,l,t", "# [1]", '#{"t_start": "now"}'):
        leave(path, f"{first}\n1,1,1\n")
        assert "first line is not # and a JSON" in refused(path, format="monitor")
    bad = tmp_path / "evaluations.npz"
    np.savez(bad, timesteps=[1, 2], results=[[1.0]])
    assert "got shapes (2,) and (1, 1)" in refused(bad, task="Hop")
    np.savez(bad, scores=[1, 2])
    assert refused(bad, task="Hop", format="evaluations").startswith(f"Expected {bad}")
    assert refused(tmp_path / "ppo", format="evaluations", task="Hop") == (
        f"Expected evaluations.npz in {tmp_path / 'ppo'}, found none."
    )


def test_every_format_is_named_where_it_is_chosen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        entry_point.main(["report", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", "").split())
    told = text.split("What the paths hold: ")[1].split("(default")[0]
    assert all(name in told for name in results.FORMATS)


FAST = ("--resamples", "20", "--permutations", "20", "--cell-permutations", "20")


def test_runs_are_reported_and_compared_from_the_command_line(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for algorithm, level in (("ppo", 10), ("a2c", 20)):
        for seed in range(4):
            path = tmp_path / algorithm / f"seed_{seed}"
            steps = [100 * (i + 1) for i in range(6)]
            evaluations(
                path / "evaluations.npz", steps, [[level + seed, level]] * len(steps)
            )
    options = ("--task", "Hop-v0", *FAST)
    assert entry_point.main(("report", "ppo", *options[:4])) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "ppo on Hop-v0: final return of 4 runs" in out
    assert "purejaxppo evaluate" not in out  # There is no study to evaluate.
    assert (
        entry_point.main(("compare", "ppo", "a2c", *options, "--names", "one,two")) == 0
    )
    found = json.loads((tmp_path / "compare" / "compare.json").read_text("utf-8"))
    assert found["comparison"]["algorithms"] == ["one", "two"]
    assert found["comparison"]["tasks"] == ["Hop-v0"]
    assert "purejaxppo evaluate" not in str(found["caveats"])
