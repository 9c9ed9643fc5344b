"""Plans: how many runs fit, how they are cut, and that it does not show."""

import math
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import xarray

import purejaxppo as ppo
from envs import probes
from purejaxppo.study import Means, Study
from purejaxppo.study.devices.sharding import AXIS, at_most
from purejaxppo.study.execution import plans
from purejaxppo.study.execution import programs as programs_room
from purejaxppo.study.execution.plans import (
    GIB,
    Chunk,
    Need,
    Plan,
    cut,
    device_limit,
    fitting,
)
from purejaxppo.study.execution.segments import Programs

CONFIG = ppo.Config(
    total_timesteps=96,
    num_envs=2,
    num_steps=16,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(8,)),
)
GRID = {"gamma": [0.9, 0.99], "learning_rate": [1e-3, 1e-2], "env.length": [3, 5]}


def program(arguments=0, results=0, between=0, shared=0):
    found = SimpleNamespace(
        argument_size_in_bytes=arguments,
        output_size_in_bytes=results,
        temp_size_in_bytes=between,
        alias_size_in_bytes=shared,
    )
    return SimpleNamespace(memory_analysis=lambda: found)


def programs(size, of_each, at_all=0, num_devices=1) -> Any:
    """Programs that need so many bytes for each run of a device, and some besides."""
    sharding: Any = SimpleNamespace(mesh=SimpleNamespace(shape={AXIS: num_devices}))
    return Programs(
        init=program(),
        advance=program(between=at_all + of_each * size // num_devices),
        sharding=sharding,
        size=size,
        longest=1,
        num_updates=1,
        seconds=0.0,
    )


def compiler(of_each, at_all=0, num_devices=1):
    """`compile_programs` by hand, and the numbers of runs that it was asked for."""
    asked = []

    def compiled(num_runs):
        asked.append(num_runs)
        size = math.ceil(num_runs / num_devices) * num_devices
        return programs(size, of_each, at_all, num_devices)

    return compiled, asked


def message(call, *arguments):
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- What fits ----------------------------------------------------------------------


def test_the_greater_program_counts_less_what_it_takes_over():
    found = programs(1, 0)._replace(
        init=program(arguments=5, results=90), advance=program(100, 110, 30, 100)
    )
    assert plans.program_bytes(found) == 140
    unknown = SimpleNamespace(memory_analysis=lambda: None)
    found = found._replace(init=unknown, advance=unknown)
    assert plans.program_bytes(found) == 0


@pytest.mark.parametrize(
    ("num_runs", "of_each", "at_all", "devices", "limit", "most", "size"),
    [
        (10, 100, 0, 1, 1000, None, 10),  # All at once.
        (10, 100, 0, 1, 999, None, 5),
        (10, 100, 0, 1, 333, None, 3),  # 4 chunks, the last one of a run.
        (10, 100, 0, 1, 1000, 4, 4),  # chunk_size 4: 3 chunks of 4.
        (10, 100, 0, 1, 1000, 99, 10),
        (16, 100, 0, 4, 1000, 7, 4),  # 6 would be filled up to 8.
        (10, 100, 500, 1, 800, None, 3),  # What does not shrink: another look.
        (16, 100, 0, 4, 200, None, 8),  # 2 a device.
        (16, 0, 0, 4, 200, None, 16),  # Not known: taken to fit.
        (16, 100, 0, 4, 1000, 2, 4),  # Devices that cannot be left out.
        (5, 100, 0, 2, 1000, None, 6),  # Filled up.
    ],
)
def test_as_many_runs_as_fit(
    num_runs, of_each, at_all, devices, limit, most, size, monkeypatch
):
    monkeypatch.setattr(jax, "devices", lambda: [None] * devices)
    compiled, asked = compiler(of_each, at_all, devices)
    found = fitting(compiled, num_runs, limit, most and at_most(most))
    assert found.size == size
    assert plans.program_bytes(found) <= limit
    assert len(asked) <= 4


@pytest.mark.parametrize("limit", [0, -7, 99])
def test_a_run_that_does_not_fit_is_told_in_one_line(limit):
    compiled, asked = compiler(100)
    told = message(fitting, compiled, 64, limit, None)
    assert told.startswith(f"Expected one run to fit {max(limit, 1) / GIB:.3g} GiB of ")
    assert "got 9.31e-08 GiB; fewer num_envs, num_steps or a smaller network" in told
    assert asked[-1] == 1


def test_memory_that_is_too_small_for_one_run():
    study = Study(CONFIG, probes.Cut(), 4)
    told = message(study.plan, Means(memory_gib=1e-7))
    assert told.startswith("Expected one run to fit 9.97e-08 GiB of each device, got")
    assert "--memory-gib" in told


def test_a_program_is_compiled_once_though_it_is_filled_up(monkeypatch):
    """Five runs on two devices: the plan's program for six is the training's."""
    compiled, sizes = programs_room.compile_programs, []

    def counted(algorithm, values, num_runs, *rest):
        sizes.append(num_runs)
        return compiled(algorithm, values, num_runs, *rest)

    monkeypatch.setattr(programs_room, "compile_programs", counted)
    Study(CONFIG, probes.Cut(), 5).run()
    assert sizes == [6]


def test_a_plan_has_half_as_many_where_its_measuring_runs_out_of_memory(monkeypatch):
    tried = []

    def small(programs, group, seeds):
        tried.append(programs.size)
        if programs.size > 2:
            message = "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."
            raise jax.errors.JaxRuntimeError(message)
        return 0.5

    monkeypatch.setattr(programs_room, "measured", small)
    plan = Study(CONFIG, probes.Cut(), 8).plan()
    assert tried == [8, 4, 2]
    assert [chunk.size for chunk in plan.chunks] == [2, 2, 2, 2]


def test_a_fault_that_is_not_memory_s_is_told_as_it_is(monkeypatch):
    def failing(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault.")

    monkeypatch.setattr(programs_room, "measured", failing)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"^INTERNAL"):
        Study(CONFIG, probes.Cut(), 8).plan()


def test_the_memory_of_a_device(monkeypatch):
    def of(**stats):
        device = SimpleNamespace(memory_stats=lambda: stats or None)
        monkeypatch.setattr(jax, "local_devices", lambda: [device])
        return device_limit()

    assert of(bytes_limit=1000, bytes_in_use=200) == 680
    assert of(bytes_limit=1000) == 850
    monkeypatch.setattr(plans, "_free_bytes", lambda: 1000)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert of() == of(peak=3) == 212


def test_what_the_host_has_free(monkeypatch, tmp_path):
    group = tmp_path / "group"
    group.mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   7000 kB\n")
    places = {"/proc/meminfo": tmp_path / "meminfo", "/sys/fs/cgroup": group}
    monkeypatch.setattr(plans, "Path", lambda path: places.get(str(path), path))
    assert plans._free_bytes() == 7000 * 1024
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("3000\n")
    assert plans._free_bytes() == 7000 * 1024
    (group / "memory.max").write_text("5000\n")
    assert plans._free_bytes() == 2000
    (group / "memory.stat").write_text("anon 1\ninactive_file 700\nactive_file 300\n")
    assert plans._free_bytes() == 3000
    (group / "memory.current").write_text("9000\n")
    assert plans._free_bytes() == 0


# --- Chunks -------------------------------------------------------------------------


@pytest.mark.parametrize("num_runs", range(1, 9))
@pytest.mark.parametrize("size", range(1, 9))
def test_chunks_have_each_run_once(num_runs, size):
    found = cut(3, num_runs, size)
    runs = [run for chunk in found for run in range(chunk.start, chunk.stop)]
    assert runs == list(range(num_runs))
    assert all(chunk.group == 3 and chunk.size == size for chunk in found)
    assert all(chunk.num_runs == size for chunk in found[:-1])
    assert len({chunk.name for chunk in found}) == len(found)


@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize("size", [4, 8, 12, 20])
def test_halves_have_the_runs_of_the_whole(size, multiple):
    for num_runs in range(1, size + 1):
        whole = Chunk(1, 5, 5 + num_runs, size)
        if math.ceil(size / 2 / multiple) * multiple >= size:
            continue
        halves = whole.halves(multiple)
        assert (halves[0].start, halves[-1].stop) == (whole.start, whole.stop)
        assert sum(half.num_runs for half in halves) == num_runs
        assert all(0 < half.num_runs <= half.size < size for half in halves)
        assert all(half.size % multiple == 0 for half in halves)


def test_what_cannot_be_halved():
    assert message(Chunk(0, 0, 2, 2).halves, 2) == (
        "Expected 2 runs at once to fit the devices' memory, got that they do not, and "
        "there are no fewer."
    )


def test_a_plan_adds_up():
    study = Study(CONFIG, probes.Cut(), 5, grid={"num_envs": [2, 4]})
    chunks = [*cut(0, 5, 2), *cut(1, 5, 5)]
    needs = [Need(10, 0.5, 7.0), Need(20, 2.0, 8.0)]
    plan = Plan(study.groups, chunks, needs, 99, 1)
    assert plan.num_runs == 10
    assert plan.env_steps == 5 * 3 * 32 + 5 * 1 * 64
    assert plan.seconds == 3 * 3 * 0.5 + 1 * 2.0
    assert plan.compile_seconds == 15.0
    assert math.isnan(plan._replace(needs=[Need(10), Need(20, 2.0)]).seconds)


# --- A plan that is carried out -----------------------------------------------------


def test_a_study_in_chunks_is_the_study_at_once():
    study = Study(CONFIG, probes.Cut(), 1, grid=GRID)
    seen = []
    whole = study.run(on_plan=seen.append)
    chunked = study.run(means=Means(chunk_size=3), on_plan=seen.append)
    one, several = seen
    assert [chunk[1:] for chunk in one.chunks] == [(0, 8, 8)]
    # Three at once at most, and as many on both devices.
    assert [chunk[1:3] for chunk in several.chunks] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert one.needs[0].bytes > several.needs[0].bytes > 0
    assert one.needs[0].update_seconds > 0
    assert one.compile_seconds > 0
    assert np.isfinite(one.seconds)
    small = study.plan(Means(memory_gib=0.75 * one.needs[0].bytes / GIB))
    assert len(small.chunks) > 1
    assert small.needs[0].bytes <= small.limit < one.needs[0].bytes
    assert one.num_devices == jax.device_count()
    assert chunked.episode_return.any()
    xarray.testing.assert_allclose(chunked, whole, rtol=2e-3, atol=2e-4)
