"""Checkpoints: whole or not there, known when damaged, two of them kept."""

import errno
import os
import shutil
import warnings

import jax
import numpy as np
import pytest

from purejaxppo.study.storage import checkpoints, digests, disk, files
from purejaxppo.study.storage.checkpoints import (
    DamagedWarning,
    newest,
    read,
    save,
    update_of,
)

TREE = {
    "state": {
        "params.kernel": np.arange(6.0).reshape(2, 3),
        "update": np.asarray([4, 4], np.int32),
    },
    "metrics": {"finite": np.ones((2, 4), bool)},
}


def times(number):
    return jax.tree.map(lambda x: x * number, TREE)


def equal(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)
    assert [x.dtype for x in jax.tree.leaves(tree)] == [
        x.dtype for x in jax.tree.leaves(other)
    ]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_read(tmp_path):
    path = save(tmp_path / "runs", 4, TREE)
    assert newest(tmp_path / "runs") == path
    assert update_of(path) == 4
    equal(read(path), TREE)


def test_device_arrays_are_read_as_numpys(tmp_path):
    path = save(tmp_path, 1, {"x": jax.numpy.arange(4.0)})
    assert isinstance(read(path)["x"], np.ndarray)
    equal(read(path), {"x": np.arange(4, dtype=np.float32)})


def test_there_is_none(tmp_path):
    assert newest(tmp_path / "none") is None


def test_the_last_two_are_kept(tmp_path):
    for update in (3, 20, 100):
        save(tmp_path, update, times(update))
    assert names(tmp_path) == ["000000020", "000000100"]
    equal(read(tmp_path / "000000100"), times(100))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with two checkpoints, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("two")
    for update in (1, 2):
        save(folder, update, times(update))
    return folder


FILES = ["manifest.json", "tree/_METADATA", "tree/manifest.ocdbt", "tree/d/*"]
FILES += ["tree/ocdbt.process_0/d/*", "tree/_CHECKPOINT_METADATA"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {"flipped": flip, "truncated": truncate, "deleted": os.unlink}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", FILES)
def test_a_damaged_one_is_left_aside(pattern, damage, two, tmp_path):
    """A flipped bit, a torn write or a lost file anywhere: the one before is taken."""
    folder = tmp_path / "runs"
    shutil.copytree(two, folder)
    victim = sorted((folder / "000000002").glob(pattern))[0]
    DAMAGES[damage](victim)
    with pytest.warns(DamagedWarning, match="Damaged: checkpoint .*000000002") as seen:
        found = newest(folder)
    assert len(seen) == 1
    assert found == folder / "000000001"
    equal(read(folder / "000000001"), times(1))
    path = save(folder, 2, times(3))  # It takes the damaged one's place.
    assert newest(folder) == path
    equal(read(path), times(3))


def unreadable(path, monkeypatch):
    digest = digests.digest

    def failing(file):
        if file.is_relative_to(path):
            raise OSError(errno.EIO, "Input/output error")
        return digest(file)

    monkeypatch.setattr(digests, "digest", failing)


def test_one_on_a_disk_that_fails_is_left_aside(two, tmp_path, monkeypatch):
    folder = shutil.copytree(two, tmp_path / "runs")
    unreadable(folder / "000000002", monkeypatch)
    with pytest.warns(DamagedWarning, match="000000002 has a .* that cannot be read"):
        assert newest(folder) == folder / "000000001"


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", "3", '{"tree": 3}', '{"a\\u0000": 1}']
)
def test_a_manifest_that_says_nothing_is_damage(text, two, tmp_path):
    folder = shutil.copytree(two, tmp_path / "runs")
    (folder / "000000002" / "manifest.json").write_text(text)
    with pytest.warns(DamagedWarning, match="000000002"):
        assert newest(folder) == folder / "000000001"


def test_damaged_ones_never_take_the_place_of_whole_ones(two, tmp_path):
    """All are damaged, the runs begin anew, and what they leave stays."""
    folder = shutil.copytree(two, tmp_path / "runs")
    for update in (19, 20):
        (folder / f"00000000{update - 18}").rename(folder / f"0000000{update}")
    for path in folder.glob("*/manifest.json"):
        path.unlink()
    assert newest_of(folder) is None
    save(folder, 5, times(5))
    assert names(folder) == ["000000005"]
    save(folder, 7, times(7))
    assert names(folder) == ["000000005", "000000007"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest(folder) == folder / "000000007"
    equal(read(folder / "000000007"), times(7))


def newest_of(folder):
    with pytest.warns(DamagedWarning):
        return newest(folder)


def test_new_folders_are_brought_to_the_disk(tmp_path, monkeypatch):
    """A folder is on the disk when the one that it is in has been synced."""
    synced, sync = [], disk.sync

    def note(path, deep=True):
        synced.append(path)
        sync(path, deep)

    monkeypatch.setattr(disk, "sync", note)
    save(tmp_path / "study" / "chunks" / "0-0-2", 1, TREE)
    for made in ("study", "study/chunks", "study/chunks/0-0-2"):
        assert (tmp_path / made).parent in synced


def test_all_damaged_is_none(two, tmp_path):
    shutil.copytree(two, tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/manifest.json"):
        path.unlink()
    with pytest.warns(DamagedWarning):
        assert newest(tmp_path / "runs") is None


def test_what_was_not_finished_does_not_count(tmp_path, monkeypatch):
    """Killed between any two steps of writing, there is the one before."""

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    save(tmp_path, 1, times(1))
    for where, name in (
        (checkpoints, "_begin"),
        (files, "write_tree"),
        (checkpoints, "_finish"),
        (disk, "sync"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, die)
            with pytest.raises(Killed):
                save(tmp_path, 2, times(2))
        assert newest(tmp_path) == tmp_path / "000000001"
    save(tmp_path, 2, times(2))
    assert names(tmp_path) == ["000000001", "000000002"]


def test_a_full_disk_leaves_what_there_is(tmp_path, monkeypatch):
    save(tmp_path, 1, times(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_tree", full)
    with pytest.raises(OSError, match="No space left on device"):
        save(tmp_path, 2, times(2))
    assert names(tmp_path) == ["000000001"]


def test_no_pickle_is_written_or_read(two):
    """Nothing in a checkpoint is a pickle, whose reading would run its code."""
    for path in two.rglob("*"):
        if path.is_file():
            assert not path.read_bytes().startswith(b"\x80")
            assert path.suffix not in (".pkl", ".pickle", ".npy")


def test_a_whole_checkpoint_warns_of_nothing(two):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest(two) == two / "000000002"
