"""What goes wrong: announced rows survive it, damaged rows are never served, words say the way."""

import errno
import hashlib
import os
import pickle
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tlfeatures.errors import StoreCorruptError, StoreError, StoreFormatError
from tlfeatures.store import CodeCache, Codes, export_codes

WRITE_FOREVER = """
import hashlib, itertools, pickle, sys
import numpy as np
cache = pickle.loads(bytes.fromhex(sys.argv[1]))
total = 0
def announce(n_rows):
    global total
    total += n_rows
    print(total, flush=True)
with cache.writer(rows_per_shard=3, announce=announce) as writer:
    for number in itertools.count():
        key = hashlib.blake2b(b"%d" % number, digest_size=16).digest()
        writer.append([key], np.full((1, cache.spec.dim), number, np.float32))
"""

WRITE_AND_LEAVE = """
import os, pickle, sys
cache, keys, rows = pickle.loads(bytes.fromhex(sys.argv[1]))
writer = cache.writer(rows_per_shard=6)
writer.append(keys, rows)
os._exit(3)
"""

WRITE_AS_NOBODY = """
import os, pickle, sys
cache, keys, rows = pickle.loads(bytes.fromhex(sys.argv[1]))
from tlfeatures.errors import StoreError
if os.getuid() == 0:
    os.setuid(65534)
try:
    with cache.writer() as writer:
        writer.append(keys, rows)
except StoreError as error:
    print(error)
"""

WRITE_SHORT_FILES_ONLY = """
import pickle, resource, sys
cache, keys, rows, codes, out = pickle.loads(bytes.fromhex(sys.argv[1]))
from tlfeatures.errors import StoreError
from tlfeatures.store import export_codes
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
for write in (lambda: cache.writer(rows_per_shard=20).append(keys, rows),
              lambda: export_codes(codes, out)):
    try:
        write()
    except StoreError as error:
        print(error)
"""

EXPORT_INTO_LITTLE_ROOM = """
import pickle, resource, sys
with open(sys.argv[1], "rb") as file:
    codes, out, whole = pickle.load(file)
from tlfeatures.errors import StoreError
from tlfeatures.store import export_codes
for part in range(1, 40):
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole * part // 40, resource.RLIM_INFINITY))
    try:
        export_codes(codes, out)
    except StoreError as error:
        print(error)
"""


def packed(*values):
    return pickle.dumps(values if len(values) > 1 else values[0]).hex()


def one_shard(cache):
    return min(cache.folder.glob("*.h5"))


def left_behind(folder):
    return [path.name for path in Path(folder).rglob(".tmp-*")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize("seed", range(5))
def test_announced_rows_survive_a_kill(cache, run_python, seed):
    chance = random.Random(seed)
    command = [sys.executable, "-c", WRITE_FOREVER, packed(cache)]
    child = subprocess.Popen(command, env=run_python.environment, stdout=subprocess.PIPE)
    lines = [child.stdout.readline() for _ in range(chance.randrange(1, 40))]
    child.send_signal(signal.SIGKILL)
    lines += child.communicate()[0].splitlines()
    announced = int(lines[-1])
    keys = [hashlib.blake2b(b"%d" % n, digest_size=16).digest() for n in range(announced)]
    assert announced >= 3
    np.testing.assert_array_equal(cache.read(keys)[:, 0], np.arange(announced))
    assert len(cache.read(cache.index())) >= announced


def test_a_process_that_just_leaves_keeps_its_published_shards(cache, keys, rows, run_python):
    done = run_python(WRITE_AND_LEAVE, packed(cache, keys, rows), check=False)
    assert done.returncode == 3
    assert cache.find(keys).sum() == 18
    np.testing.assert_array_equal(cache.read(keys[:18]), rows[:18])


def test_the_file_is_safe_before_it_is_renamed_and_renamed_before_it_is_announced(
    cache, keys, rows, monkeypatch
):
    seen, fsync, replace = [], os.fsync, os.replace

    def record_fsync(handle):
        facts = os.fstat(handle)
        is_folder = stat.S_ISDIR(facts.st_mode)
        seen.append(("fsync folder", 0) if is_folder else ("fsync", facts.st_size))
        fsync(handle)

    def record_replace(source, target):
        seen.append(("rename", Path(source).stat().st_size))
        assert Path(source).name.startswith(".tmp-")
        replace(source, target)

    writer = cache.writer(announce=lambda n_rows: seen.append(("announce", n_rows)))
    writer.append(keys[:1], rows[:1])
    writer.flush()  # makes the folder and meta.json
    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    seen.clear()
    writer.append(keys[1:], rows[1:])
    writer.flush()
    size = max(path.stat().st_size for path in cache.folder.glob("*.h5"))
    assert seen == [("fsync", size), ("rename", size), ("fsync folder", 0), ("announce", 19)]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_said_in_a_line_and_leaves_nothing_half_written(
    cache, keys, rows, monkeypatch, step
):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    announced = []
    writer = cache.writer(announce=announced.append)
    writer.append(keys, rows)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(StoreError, match=r"No space left .* MB free.*`cache`") as caught:
            writer.flush()
    assert caught.value.errno == errno.ENOSPC
    assert "\n" not in str(caught.value)
    assert left_behind(cache.root) == []
    assert announced == []
    writer.flush()  # room was made: the rows were not lost
    np.testing.assert_array_equal(cache.read(keys), rows)


def test_a_full_disk_does_not_hide_the_exception_that_ended_the_run(
    cache, keys, rows, monkeypatch, caplog
):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def append_and_stop():
        with cache.writer() as writer:
            writer.append(keys, rows)
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyboardInterrupt):
        append_and_stop()
    assert "20 rows were not stored" in caplog.text


def test_a_full_shard_is_tried_again_by_the_next_append(cache, keys, rows, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with cache.writer(rows_per_shard=4) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StoreError):
                writer.append(keys[:4], rows[:4])
        writer.append(keys[4:6], rows[4:6])
    np.testing.assert_array_equal(cache.read(keys[:6]), rows[:6])


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
def test_writes_that_stop_in_the_middle_leave_nothing(
    cache, keys, rows, run_python, make_codes, tmp_path
):
    small = CodeCache(tmp_path / "small", cache.spec)
    arguments = packed(small, keys, rows, make_codes(), tmp_path / "out" / "codes.h5")
    said = run_python(WRITE_SHORT_FILES_ONLY, arguments).stdout.splitlines()
    assert len(said) == 2
    assert all("cannot write" in line and "MB free" in line for line in said)
    assert left_behind(tmp_path) == []
    assert not (tmp_path / "out" / "codes.h5").exists()
    assert list(small.folder.glob("*.h5")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
@pytest.mark.parametrize(("n", "name"), [(3000, "{}.png"), (200, "long" * 1200 + "{}"), (9000, "")])
def test_an_export_stops_in_a_line_wherever_the_room_ends(cache, run_python, tmp_path, n, name):
    keys = [hashlib.blake2b(b"%d" % number, digest_size=16).digest() for number in range(n)]
    with cache.writer() as writer:
        writer.append(keys, np.zeros((n, cache.spec.dim), np.float32))
    codes = Codes(cache, keys, [name.format(number) for number in range(n)])
    whole = export_codes(codes, tmp_path / "whole.h5").stat().st_size
    out = tmp_path / "out" / "codes.h5"
    (tmp_path / "given").write_bytes(pickle.dumps((codes, out, whole)))
    said = run_python(EXPORT_INTO_LITTLE_ROOM, tmp_path / "given").stdout.splitlines()
    assert len(said) == 39
    assert all("File too large" in line and "choose another file" in line for line in said)
    assert list(out.parent.iterdir()) == []


def test_an_export_that_does_not_fit_on_the_disk_is_refused_before_it_is_written(
    make_codes, tmp_path, monkeypatch
):
    codes, out = make_codes(), tmp_path / "codes.h5"
    free = shutil.disk_usage(tmp_path)._replace(free=10**4)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    monkeypatch.setattr(Codes, "iter_chunks", lambda *_: pytest.fail("it was read"))
    with pytest.raises(StoreError, match=r"takes 0\.1 MB; 0\.0 MB free.* another file") as caught:
        export_codes(codes, out)
    assert caught.value.errno == errno.ENOSPC
    assert not out.exists()
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="no users here")
def test_a_folder_one_may_not_write_to_is_said_in_a_line(spec, keys, rows, run_python):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        cache = CodeCache(Path(folder) / "cache", spec)
        said = run_python(WRITE_AS_NOBODY, packed(cache, keys, rows)).stdout
        Path(folder).chmod(0o755)
    assert "Permission denied" in said
    assert "allow writing there, or choose another folder" in said


def test_a_file_where_the_folder_should_be_is_said(spec, keys, rows, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    cache = CodeCache(tmp_path / "cache", spec)
    with pytest.raises(StoreError, match="cannot write"), cache.writer() as writer:
        writer.append(keys, rows)


@pytest.mark.parametrize("name", ["codes", "keys", "checksums"])
def test_a_flipped_byte_of_a_row_is_never_served(filled, keys, rows, name):
    path = one_shard(filled)
    with h5py.File(path, "r") as shard:
        offset, size = shard[name].id.get_offset(), shard[name].id.get_storage_size()
        stored = [key.tobytes() for key in shard["keys"][:]]
    for place in range(offset, offset + size, max(1, size // 12)):
        flip(path, place)
        fresh = CodeCache(filled.root, filled.spec)
        with pytest.raises(StoreError) as caught:
            fresh.read(stored)
        assert str(filled.folder) in str(caught.value)
        if name != "keys":  # a damaged key is simply not there
            assert f"{path} is damaged" in str(caught.value)
            assert "cache verify --repair" in str(caught.value)
        flip(path, place)
    np.testing.assert_array_equal(CodeCache(filled.root, filled.spec).read(keys), rows)


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)


def never_wrong_wherever_a_byte_flips(cache, keys, rows, places):
    with cache.writer() as writer:
        writer.append(keys[:5], rows[:5])
    path = one_shard(cache)
    for place in places(path.stat().st_size):
        flip(path, place)
        try:
            got = CodeCache(cache.root, cache.spec).read(keys[:5])
        except StoreError:
            pass
        else:
            np.testing.assert_array_equal(got, rows[:5], err_msg=f"byte {place}")
        flip(path, place)


def test_a_flipped_byte_anywhere_gives_right_rows_or_an_error(cache, keys, rows):
    never_wrong_wherever_a_byte_flips(cache, keys, rows, lambda size: range(0, size, 11))


@pytest.mark.slow
def test_every_flipped_byte_gives_right_rows_or_an_error(cache, keys, rows):
    never_wrong_wherever_a_byte_flips(cache, keys, rows, range)


def test_a_row_standing_under_another_key_is_never_served(filled, keys):
    path = one_shard(filled)
    with h5py.File(path, "r+") as shard:
        shard["keys"][0], shard["keys"][1] = shard["keys"][1], shard["keys"][0]
        stored = [key.tobytes() for key in shard["keys"][:]]
    with pytest.raises(StoreCorruptError, match="row 0 does not match"):
        filled.read(stored)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.99])
def test_a_truncated_shard_is_refused_by_name(filled, keys, share):
    path = one_shard(filled)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(StoreCorruptError, match=f"{path.name}.*cache verify --repair"):
        filled.find(keys)
    path.unlink()
    assert filled.find(keys).sum() in (14, 18)


def test_a_file_that_is_no_hdf5_is_refused_by_name(filled, keys):
    (filled.folder / "notes.h5").write_text("these are no codes")
    with pytest.raises(StoreCorruptError, match=r"notes.h5 cannot be read as HDF5"):
        filled.find(keys)


def change_format(shard):
    shard.attrs["format"] = "else"


def drop_keys(shard):
    del shard["keys"]


def widen_checksums(shard):
    del shard["checksums"]
    shard["checksums"] = np.zeros((6, 2), np.uint64)


def break_spec(shard):
    shard.attrs["spec"] = "{"


@pytest.mark.parametrize("change", [change_format, drop_keys, widen_checksums, break_spec])
def test_an_hdf5_file_that_is_no_shard_is_refused_by_name(filled, keys, change):
    path = one_shard(filled)
    with h5py.File(path, "r+") as shard:
        change(shard)
    with pytest.raises(StoreCorruptError, match=f"{path.name}.*cache verify --repair"):
        filled.find(keys)


def test_a_shard_of_an_unknown_version_is_refused_by_name(filled, keys):
    path = one_shard(filled)
    with h5py.File(path, "r+") as shard:
        shard.attrs["format_version"] = 7
    with pytest.raises(StoreFormatError, match=f"{path.name} has format version 7.*update"):
        filled.find(keys)


def test_a_shard_whose_spec_has_an_unknown_field_is_refused_by_name(filled, keys):
    path = one_shard(filled)
    with h5py.File(path, "r+") as shard:
        shard.attrs["spec"] = '{"colour": 1}'
    with pytest.raises(StoreFormatError, match=f"{path.name}: .*colour"):
        filled.find(keys)


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.EACCES, "allow reading"), (errno.EIO, "cannot read"), (errno.EMFILE, "cannot read")],
)
def test_a_file_that_cannot_be_opened_now_is_not_called_damaged(
    filled, keys, monkeypatch, number, message
):
    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(StoreError, match=message) as caught:
        filled.find(keys)
    assert not isinstance(caught.value, StoreCorruptError)


def test_a_stale_network_file_is_listed_again(filled, keys, rows, monkeypatch):
    opened, real = [], h5py.File

    def stale_once(*arguments, **options):
        opened.append(arguments)
        if len(opened) == 1:
            raise OSError("Can't read data (file read failed, errno = 116, Stale file handle)")
        return real(*arguments, **options)

    monkeypatch.setattr(h5py, "File", stale_once)
    np.testing.assert_array_equal(filled.read(keys), rows)
