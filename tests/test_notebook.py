"""The quickstart notebook runs from its first cell to its last."""

from pathlib import Path

import jax
import nbclient
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec

from tests import children

QUICKSTART = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"
TINY = {"NUM_SEEDS": 4, "TOTAL_TIMESTEPS": 1024, "LEARNING_RATES": [1e-4, 1e-3]}


@pytest.fixture
def notebook():
    return nbformat.read(QUICKSTART, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def make_tiny(notebook):
    """Override the budget that the cell of parameters sets, and nothing else."""
    cell = code_cells(notebook)[0]
    assert "parameters" in cell.metadata.tags
    names = [line.split(" = ")[0] for line in cell.source.splitlines()]
    assert names == list(TINY)
    cell.source = "\n".join(f"{name} = {value}" for name, value in TINY.items())


@pytest.fixture
def own_kernel(tmp_path, monkeypatch):
    """Make `python3` a kernel of this very interpreter, whatever the machine has."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cache = jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
    for name in ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS"):
        monkeypatch.setenv(name, children.environment()[name])
    write_kernel_spec(str(tmp_path / "share" / "kernels" / "python3"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))


@pytest.mark.slow
def test_quickstart_runs(notebook, own_kernel, tmp_path):
    make_tiny(notebook)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert "(4, 2)" in repr(outputs)
    assert "(2, 4, 2)" in repr(outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    tables = [output for output in outputs if "text/markdown" in output.get("data", {})]
    assert len(tables) == 3
    assert all("CVaR 25 %" in table.data["text/markdown"] for table in tables)
    assert [output for output in outputs if output.get("name") == "stderr"] == []


def test_outputs_are_stripped(notebook):
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
