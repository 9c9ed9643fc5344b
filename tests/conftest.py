"""Strict JAX for every test, two CPU devices, compiled programs kept between runs."""

import gc
import os
from pathlib import Path

import jax
import pytest

from purejaxppo import Config, NetworkConfig
from purejaxppo.study import Study, evaluate_study
from tests import children

jax.config.update("jax_num_cpu_devices", 2)
if children.XLA_FLAGS and "XLA_FLAGS" not in os.environ:
    # XLA reads its flags once, and commands that tests start choose their own.
    os.environ["XLA_FLAGS"] = children.XLA_FLAGS
    jax.devices()
    del os.environ["XLA_FLAGS"]
jax.config.update("jax_numpy_rank_promotion", "raise")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(cache / "purejaxppo-tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


SMALL = Config(
    total_timesteps=32,
    num_envs=2,
    num_steps=8,
    num_minibatches=1,
    network=NetworkConfig(widths=(4,)),
)


def pytest_collection_modifyitems(items):
    """Begin with the files that take minutes, so that no worker ends alone with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """Collect garbage seldom: tracing leaves little, and a sixth of the time was this.

    What is imported by now stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture(autouse=True, scope="module")
def compile_fast(request):
    """Compile small test programs two to three times as fast, except to learn.

    A module with a true `OPTIMIZED` is compiled as users do.
    """
    fast = not getattr(request.module, "OPTIMIZED", False)
    jax.config.update("jax_disable_most_optimizations", fast)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # Else a worker's programs grow to 5 GB.
    gc.collect()


@pytest.fixture(scope="session")
def small_study(tmp_path_factory):
    """The directory of a study of two short runs, evaluated; to be copied."""
    output = tmp_path_factory.mktemp("small") / "study"
    jax.config.update("jax_disable_most_optimizations", True)
    Study(SMALL, "CartPole-v1", 2, output=output).run()
    evaluate_study(output, 2, max_steps=2)
    return output


@pytest.fixture
def key():
    return jax.random.key(0)
