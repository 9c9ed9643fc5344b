"""A folder that somebody else made: each fault is one line, and nothing is done."""

import copy
import json
import math
import os
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tomli_w

from purejaxppo.cli import devices, entry_point
from purejaxppo.export import export_study, files, read_policy
from purejaxppo.results import read, read_scores
from purejaxppo.study import load
from purejaxppo.study.loading import read_study
from purejaxppo.study.storage import digests, disk
from purejaxppo.study.storage import files as files_room
from purejaxppo.study.storage.arrays import files_fault

COMMANDS = {
    "report": (),
    "evaluate": ("--episodes", "1", "--max-steps", "2", "--overwrite"),
    "resume": (),
    "export": (),
    "play": ("--episodes", "1", "--max-frames", "0"),
}
"""Commands that open a study."""

DEEP = 100_000
"""Brackets within each other: more than Python's stack bears."""


@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)


@pytest.fixture
def folder(small_study, tmp_path):
    """A copy of a study, as if it had been stopped before its end."""
    folder = shutil.copytree(small_study, tmp_path / "study")
    change(folder / "environment.json", status="incomplete")
    (folder / ".lock").unlink()  # As it comes from elsewhere, perhaps.
    return folder


def change(path, **fields):
    disk.write_json(path, disk.read_json(path) | fields)


def contents(folder):
    """Every file, link and folder below a folder, with what it holds."""
    return {
        path: path.readlink()
        if path.is_symlink()
        else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


def _held(path):
    if path.is_symlink():
        return path.readlink()
    return path.read_bytes() if path.is_file() else None


def refused(capfd, folder, command):
    """The one line with which a command refuses a folder; nothing is changed."""
    before = contents(folder.parent)
    code = entry_point.main((command, str(folder), *COMMANDS[command]))
    told = capfd.readouterr().err.strip().splitlines()
    assert (code, len(told)) == (2, 1), told
    assert contents(folder.parent) == before
    assert told[0].isprintable()
    return told[0]


def one_line(call, *arguments):
    """The line with which a function refuses its arguments."""
    with pytest.raises(ValueError) as error:
        call(*arguments)
    told = str(error.value)
    assert told.count("\n") == 0 and told.isprintable()
    return told


# --- Records ------------------------------------------------------------------------

UNPRINTABLE = "a\x1b[31mb", "a\nb", "\u202e"
BY_TYPE = {
    bool: (None, "true", 1, 0.5, [], {}),
    str: (None, True, 5, 0.5, [], {}, ["a"], *UNPRINTABLE),
    int: (None, True, "5", -5, 0.5, math.nan, math.inf, 2**60, 10**400, [], {}, [1]),
    float: (None, True, "5", -0.5, math.nan, math.inf, [], {}, [0.5]),
    list: (None, True, 5, "a", {}, [None], [{}], [[[]]]),
    dict: (None, True, 5, "a", [], {"": 1}, {"a": []}, {"a": {"b": 1}}, {"\x1b": 1}),
}
"""Type of a value -> others that its field can never have."""


def hostile_values(path, value):
    """What a field, given by its path, cannot hold in place of a value."""
    if path[:1] == ("provenance",) and len(path) > 1:  # Any scalar.
        return 0.5, math.nan, [], {}, 10**400, *UNPRINTABLE
    return BY_TYPE[type(value)]


def walk(record, path=()):
    """Path and value of each field of a record, and of what it holds."""
    for name in record if isinstance(record, dict) else range(len(record)):
        here = (*path, name)
        yield here, record[name]
        if isinstance(record[name], dict | list):
            yield from walk(record[name], here)


def with_value(record, path, value):
    changed = copy.deepcopy(record)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


READERS = {
    "environment.json": files_room.read_environment,
    "plan.json": files_room.read_plan,
}


@pytest.mark.parametrize("name", READERS)
def test_no_field_of_a_record_takes_a_value_of_another_kind(name, folder):
    record, read = disk.read_json(folder / name), READERS[name]
    assert read(folder) == record
    for path, value in walk(record):
        for other in hostile_values(path, value):
            (folder / name).write_text(json.dumps(with_value(record, path, other)))
            assert name in one_line(read, folder), (path, other)


@pytest.mark.parametrize("name", READERS)
def test_a_record_has_all_its_fields_and_no_others(name, folder):
    record = disk.read_json(folder / name)
    for field in record:
        less = {k: v for k, v in record.items() if k != field}
        disk.write_json(folder / name, less)
        assert field in one_line(READERS[name], folder)
    disk.write_json(folder / name, {**record, "more": 1})
    assert "more" in one_line(READERS[name], folder)


@pytest.mark.parametrize(
    "fields",
    [{"status": "weird"}, {"updates": 3}, {"objects": ["os"]}, {"config": "0"}],
)
@pytest.mark.parametrize("command", ["report", "evaluate", "resume"])
def test_a_field_out_of_its_range_is_one_line(command, fields, folder, capfd):
    change(folder / "environment.json", **fields)
    told = refused(capfd, folder, command)
    assert "environment.json" in told and next(iter(fields)) in told


def sign(folder):
    """Make the digest of a config fit what it is now."""
    change(folder / "environment.json", config=digests.digest(folder / "config.toml"))


def test_no_field_of_a_config_takes_a_value_of_another_kind(folder):
    path = folder / "config.toml"
    record = disk.read_toml(path)
    for number, (place, value) in enumerate(walk(record)):
        # What is off may be on; a technique that is always on may be given as true.
        free = value == "none" or place == ("config", "network")
        # A few values a field, others in each: their rules are tested in test_config.
        for other in BY_TYPE[type(value)][number % 3 :: 3]:
            if other == -0.5:  # Some take it.
                continue
            try:
                path.write_text(tomli_w.dumps(with_value(record, place, other)))
            except TypeError:  # TOML has no null.
                continue
            sign(folder)
            if free:
                _opened(folder)
            elif other != {} or not isinstance(value, dict):
                one_line(files_room.read_own_job, folder)


def _opened(folder):
    """Open a study that is whole, or is refused in one line."""
    try:
        files_room.read_own_job(folder)
    except ValueError as error:
        assert str(error).count("\n") == 0 and str(error).isprintable()


GRIDS = {
    "grid": ({"gamma": []}, {"gamma": 5}, {"gamma": [{}]}, {"gamma": [math.nan]}, 5),
    "zip": ({"gamma": [0.9], "seed": [1]}, {"gamma": [[]]}, [], "x"),
    "sample": ({"gamma": "log(1,0)", "num_settings": 2}, {"num_settings": 10**12}, {}),
}


@pytest.mark.parametrize("name", GRIDS)
def test_no_grid_of_a_config_is_of_another_kind(name, folder):
    record = disk.read_toml(folder / "config.toml")
    for other in GRIDS[name]:
        (folder / "config.toml").write_text(tomli_w.dumps({**record, name: other}))
        sign(folder)
        one_line(read_study, folder)


# --- Text that is no record ---------------------------------------------------------

TEXTS = {
    "deep list": b"[" * DEEP,
    "deep object": b'{"a":' * DEEP,
    "deep list in a field": b'{"status": ' + b"[" * DEEP,
    "many digits": b'{"updates": ' + b"9" * 10_000 + b"}",
    "no text": b"\xff\xfe\x00",
    "pickle": pickle.dumps({"status": "complete"}),
    "null": b"null",
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    "name",
    [
        "environment.json",
        "plan.json",
        "results.zarr.digests.json",
        "results.zarr/zarr.json",
        "results.zarr/seed/zarr.json",
        "parameters/0.digests.json",
        "parameters/0/_METADATA",
    ],
)
def test_text_that_is_no_record_is_one_line(name, text, folder, capfd):
    (folder / name).write_bytes(TEXTS[text])
    if "/" in name and "digests" not in name:
        sign_arrays(folder / name.split("/")[0] / ("0" if "param" in name else ""))
    command = "resume" if name == "plan.json" else "evaluate"
    command = "report" if "results" in name else command
    assert str(folder) in refused(capfd, folder, command)


def sign_arrays(folder):
    """Make the digests of a folder fit what is in it now."""
    files_room.write_digests(folder)


DEEP_TOML = {
    "lists": "a = " + "[" * DEEP,
    "tables": "a = " + "{b = " * DEEP,
    "dots": f"config.{'a.' * 5000}a = 1",
    "dots of a grid": f"grid.{'a.' * 5000}a = [1]",
}


@pytest.mark.parametrize("text", DEEP_TOML)
def test_a_config_that_is_nested_deeply_is_one_line(text, folder, capfd):
    (folder / "config.toml").write_text(DEEP_TOML[text])
    sign(folder)
    refused(capfd, folder, "resume")
    assert (
        entry_point.main(("train", "CartPole-v1", "--config", f"{folder}/config.toml"))
        == 2
    )
    assert capfd.readouterr().err.count("\n") == 1


def test_a_file_that_is_too_large_is_not_read(folder):
    os.truncate(folder / "environment.json", disk.LARGEST + 1)
    assert "environment.json" in one_line(files_room.read_environment, folder)


# --- Links --------------------------------------------------------------------------

FILES = (
    *("config.toml", "environment.json", "plan.json", ".lock", "report.html"),
    *("report.json", "report.md", "learning_curve.png", "metrics.csv", "play.gif"),
    *("results.zarr.digests.json", "results.zarr/zarr.json", "wandb.json"),
    *("results.zarr/episode_return/c/0/0", "parameters/0/_METADATA"),
)
FOLDERS = (
    *("results.zarr", "results.zarr/episode_return", "results.zarr/seed/c"),
    *("evaluation.zarr", "parameters", "parameters/0", "chunks", "tensorboard"),
    *("policy-0", "wandb"),
)


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_link_in_a_study_is_refused_before_anything_is_written(name, folder, capfd):
    """Wherever it leads: to the same bytes, to a victim, to nothing."""
    path, aside = folder / name, folder.parent / "aside"
    if path.exists():
        path.rename(aside)
    elif name in FOLDERS:
        aside.mkdir()
    else:
        aside.write_text("precious")
    path.symlink_to(aside)
    for command in ("report", "resume", "evaluate"):
        assert str(path) in refused(capfd, folder, command)
    path.unlink()
    path.symlink_to("nowhere")
    refused(capfd, folder, "resume")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder, capfd):
    (folder / "config.toml").unlink()
    os.mkfifo(folder / "config.toml")
    assert "config.toml" in refused(capfd, folder, "report")


@pytest.mark.parametrize("name", ["../environment.json", "/etc/hostname", "a/../b", ""])
def test_digests_are_of_files_in_the_folder(name, folder, capfd):
    manifest = folder / "results.zarr.digests.json"
    change(manifest, **{name: digests.digest(folder / "environment.json")})
    assert "results.zarr" in refused(capfd, folder, "report")


# --- Arrays -------------------------------------------------------------------------


def test_a_chunk_that_is_deleted_with_its_digest_is_missed(folder, capfd):
    """Zarr would read it as NaN, or zeros."""
    for path in sorted((folder / "results.zarr").glob("*/c/**/0")):
        if path.is_dir():
            continue
        data = path.read_bytes()
        path.unlink()
        sign_arrays(folder / "results.zarr")
        assert path.parts[-4] in refused(capfd, folder, "report") or "seed" in str(path)
        path.write_bytes(data)


def test_arrays_without_digests_are_damaged(folder, capfd):
    for name, command in (("results.zarr", "report"), ("parameters/0", "evaluate")):
        path = folder / f"{name}.digests.json"
        data = path.read_bytes()
        path.unlink()
        assert "damaged" in refused(capfd, folder, command)
        path.write_bytes(data)


def test_no_fact_of_an_array_takes_a_value_of_another_kind(folder):
    path = folder / "results.zarr" / "episode_return" / "zarr.json"
    record = disk.read_json(path)
    del record["attributes"]["_FillValue"], record["attributes"]["coordinates"]
    for place, value in walk(record):
        for other in BY_TYPE[type(value)]:
            if place[0] == "codecs" and len(place) > 2 and place[2] == "configuration":
                continue  # zarr's own to refuse.
            if place in (("fill_value",), ("storage_transformers",)) and (
                isinstance(other, int | float) or other == []
            ):
                continue
            path.write_text(json.dumps(with_value(record, place, other)))
            assert files_fault(path.parents[1]), (place, other)


ATTRIBUTES = {
    "env": (*BY_TYPE[str], ""),
    "action_dims": BY_TYPE[int],
    "settings": (None, 5, "a", {}, [], [5], [{"gamma": {}}], [{"gamma": [[1]]}]),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_no_attribute_of_results_takes_a_value_of_another_kind(name, folder):
    path = folder / "results.zarr" / "zarr.json"
    record = disk.read_json(path)
    for other in ATTRIBUTES[name]:
        attributes = {**record["attributes"], name: other}
        path.write_text(json.dumps({**record, "attributes": attributes}))
        sign_arrays(folder / "results.zarr")
        one_line(files_room.read_results, folder)


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return (Path.touch, (Path(self.ran),))


# What orbax's callbacks raise beside what comes to us.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_pickle_in_the_place_of_a_file_is_not_loaded(folder, tmp_path, capfd):
    ran = tmp_path / "ran"
    for path in [p for p in sorted(folder.rglob("*")) if p.is_file()][::5]:
        data = path.read_bytes()
        path.write_bytes(pickle.dumps(Payload(ran)))
        for arrays in ("results.zarr", "evaluation.zarr", "parameters/0"):
            sign_arrays(folder / arrays)
        with pytest.raises(ValueError):
            load(folder)
            files_room.read_results(folder)
            files_room.read_evaluation(folder)
            files_room.read_plan(folder)
            raise ValueError("Digests, and files that nobody reads.")
        path.write_bytes(data)
        assert not ran.exists()


def test_arrays_that_are_unpickled_are_not_read(folder, tmp_path, capfd):
    """Zarr's older format has a codec that unpickles."""
    ran = tmp_path / "ran"
    results = folder / "results.zarr"
    shutil.rmtree(results)
    (results / "episode_return").mkdir(parents=True)
    (results / ".zgroup").write_text('{"zarr_format": 2}')
    array = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "compressor": None,
        "fill_value": None,
        "order": "C",
        "filters": [{"id": "pickle", "protocol": 5}],
    }
    disk.write_json(results / "episode_return" / ".zarray", array)
    names = {"_ARRAY_DIMENSIONS": ["run"]}
    disk.write_json(results / "episode_return" / ".zattrs", names)
    payload = pickle.dumps(Payload(ran))
    (results / "episode_return" / "0").write_bytes(payload)
    sign_arrays(results)
    assert "results.zarr" in refused(capfd, folder, "report")
    assert not ran.exists()


def test_scores_that_are_unpickled_are_not_read(tmp_path):
    ran, path = tmp_path / "ran", tmp_path / "scores.npz"
    payload = np.empty(1, object)
    payload[0] = Payload(ran)
    np.savez(path, a=payload)
    one_line(read_scores, path)
    path.write_bytes(pickle.dumps(Payload(ran)))
    one_line(read_scores, path)
    (tmp_path / "scores.json").write_text("[" * DEEP)
    one_line(read_scores, tmp_path / "scores.json")
    assert not ran.exists()


# --- What a page shows --------------------------------------------------------------

MARKUP = "<script>x</script> [red]a[/red] ![i](j) | `b` $c$ &amp; {{d}} :smile:"


def test_a_name_is_shown_as_it_is_wherever_it_stands(folder, capfd):
    """HTML, Markdown and the terminal: no tag, link, cell or colour comes of it."""
    results = files_room.read_results(folder)
    results.attrs["env"] = MARKUP
    files_room.write_results(folder, results)
    job = files_room.read_job(folder / "config.toml")._replace(env=MARKUP)
    files_room.write_job(folder, job)
    sign(folder)
    shutil.rmtree(folder / "evaluation.zarr")
    assert entry_point.main(("report", str(folder), "--resamples", "9")) == 0
    shown = capfd.readouterr().out
    page = (folder / "report.html").read_text()
    assert "<script>x" not in page and "&lt;script&gt;x" in page
    head = (folder / "report.md").read_text().splitlines()[0]
    assert r"\<script\>x\</script\> \[red\]a\[/red\] !\[i\](j) \|" in head
    assert "Report in" in shown
    code = entry_point.main(("evaluate", str(folder)))
    told = capfd.readouterr().err
    assert code == 2 and MARKUP in told  # No such environment.


def test_a_path_is_shown_as_it_is(folder, capfd):
    folder = folder.rename(folder.with_name("a[b]:smile:[red]"))
    shutil.rmtree(folder / "evaluation.zarr")
    assert entry_point.main(("report", str(folder), "--resamples", "9")) == 0
    assert "a[b]:smile:[red]" in capfd.readouterr().out.replace("\n", "")


# --- What is no study ---------------------------------------------------------------


def test_names_that_do_not_print_are_refused(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"a\x1b[31m": [[1.0], [2.0]]}))
    one_line(read, path)


def test_event_files_that_are_damaged_or_pipes_are_one_line(tmp_path):
    run = tmp_path / "CartPole-v1__ppo__1__1690000000"
    run.mkdir()
    events = run / "events.out.tfevents.1"
    os.mkfifo(events)
    one_line(read, tmp_path)
    events.unlink()
    for data in (b"", b"\x80" * 100, pickle.dumps(Payload(tmp_path / "ran"))):
        events.write_bytes(data)
        one_line(read, tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def exported(small_study, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "policy"
    return export_study(small_study, 0, output)


def test_no_fact_of_an_exported_policy_takes_a_value_of_another_kind(
    exported, tmp_path
):
    policy = shutil.copytree(exported, tmp_path / "policy")
    record = disk.read_json(policy / "policy.json")
    for place, value in walk(record):
        optional = value is None or place[0] in ("env_params", "sha256", "packages")
        if place[0] not in files.NEEDED or (optional and len(place) == 1):
            continue
        for other in BY_TYPE[type(value)]:
            (policy / "policy.json").write_text(
                json.dumps(with_value(record, place, other))
            )
            one_line(read_policy, policy)


@pytest.mark.parametrize("name", files.BINARIES)
def test_a_file_of_an_exported_policy_is_what_it_was(name, exported, tmp_path):
    policy, ran = shutil.copytree(exported, tmp_path / "policy"), tmp_path / "ran"
    path, data = policy / name, (exported / name).read_bytes()
    path.unlink()
    one_line(read_policy, policy)
    path.symlink_to(exported / name)
    assert "is a link" in one_line(read_policy, policy)
    path.unlink()
    for other in (
        b"",
        data[: len(data) // 2],
        pickle.dumps(Payload(ran)),
        b"\xff" * 100,
    ):
        path.write_bytes(other)
        digest = {name: digests.digest(path)}
        record = disk.read_json(exported / "policy.json")
        change(policy / "policy.json", sha256=record["sha256"] | digest)
        one_line(read_policy, policy)
    assert not ran.exists()


def test_a_program_that_calls_out_is_not_run(exported, tmp_path):
    """Any function that the process has, with arguments that the program chooses."""
    scalar, name = jax.ShapeDtypeStruct((), "float32"), "any_function"
    lowered = jax.export.export(
        jax.jit(jax.ffi.ffi_call(name, scalar)),
        disabled_checks=[jax.export.DisabledSafetyCheck.custom_call(name)],
        platforms=["cpu"],
    )(scalar)
    policy = shutil.copytree(exported, tmp_path / "policy")
    (policy / files.PROGRAM).write_bytes(lowered.serialize())
    digest = {files.PROGRAM: digests.digest(policy / files.PROGRAM)}
    record = disk.read_json(policy / "policy.json")
    change(policy / "policy.json", sha256=record["sha256"] | digest)
    assert name in one_line(read_policy, policy)


# --- Folders that a command goes on with --------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["search.json", "tune.db", "tune.db-wal", "tune.csv", "best.toml", "confirm"],
)
def test_a_link_in_a_searchs_folder_is_refused(name, tmp_path, capfd):
    victim = tmp_path / "victim"
    victim.mkdir() if name == "confirm" else victim.write_text("precious")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / name).symlink_to(victim)
    before = contents(tmp_path)
    output = "--output", str(tmp_path / "search")
    assert (
        entry_point.main(("tune", "CartPole-v1", "--total-timesteps", "4096", *output))
        == 2
    )
    assert "is a link" in capfd.readouterr().err
    assert contents(tmp_path) == before


def test_nothing_is_deleted_through_a_link(folder, capfd):
    """`--overwrite` deletes event files of an earlier study, wherever they are."""
    victim = folder.parent / "victim"
    victim.mkdir()
    (victim / "events.out.tfevents.1.purejaxppo").write_text("precious")
    (folder / "tensorboard").symlink_to(victim)
    before = contents(folder.parent)
    output = "--output", str(folder), "--overwrite"
    assert (
        entry_point.main(("train", "CartPole-v1", "--total-timesteps", "4096", *output))
        == 2
    )
    assert "is a link" in capfd.readouterr().err
    assert contents(folder.parent) == before


def test_links_of_wandbs_may_stay_in_its_folder(folder):
    (folder / "wandb" / "run-1").mkdir(parents=True)
    (folder / "wandb" / "latest-run").symlink_to("run-1")
    (folder / "latest").symlink_to("nowhere")  # The user's own.
    files_room.check_study(folder)
    (folder / "wandb" / "run-1" / "up").symlink_to("../..")
    assert "is a link" in one_line(files_room.check_study, folder)
