"""Locks on targets: the second writer is refused in a sentence, and the dead hold nothing."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from scdlab import locks
from scdlab.locks import Busy, locked

HOLD = """
import sys, time
from scdlab.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_writer_is_told_whose_the_lock_is(tmp_path):
    target = tmp_path / "store"
    process = holder(target)
    try:
        with (
            pytest.raises(
                Busy, match=rf"store is being written by process {process.pid} on \S+ since"
            ),
            locked(target),
        ):
            pass
        (tmp_path / "link").symlink_to(target)
        with pytest.raises(Busy), locked(tmp_path / "link"):  # the same target by another name
            pass
        with locked(tmp_path / "another"):
            pass
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / ".store.lock").is_file()  # left by the killed one, and free
    with locked(target):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["link"]


def test_a_thread_of_this_process_is_another_writer_too(tmp_path):
    found = []

    def second():
        try:
            with locked(tmp_path / "a"):
                pass
        except Busy as error:
            found.append(str(error))

    with locked(tmp_path / "a"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(found) == 1 and f"process {os.getpid()} (this very process)" in found[0]
    second()
    assert len(found) == 1


def test_a_folder_can_hold_its_own_lock(tmp_path):
    with locked(tmp_path / "run", inside=True):
        assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
    assert not list((tmp_path / "run").iterdir())


def test_content_that_cannot_be_read_is_no_trouble(tmp_path):
    (tmp_path / ".a.lock").write_bytes(b"\xff")
    with locked(tmp_path / "a"):
        (tmp_path / ".a.lock").write_bytes(b"{}")
        with pytest.raises(Busy, match="by another process: wait"), locked(tmp_path / "a"):
            pass


def test_no_two_hold_it_while_many_come_and_go(tmp_path):
    inside = []
    clashes = []
    entered = []

    def worker():
        for _ in range(200):
            try:
                with locked(tmp_path / "a"):
                    inside.append(1)
                    clashes.append(len(inside) > 1)
                    entered.append(1)
                    inside.pop()
            except Busy:
                pass

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) >= 200 and not any(clashes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_forked_process_does_not_keep_the_lock(tmp_path):
    code = (
        "import os, sys, time; from scdlab.locks import locked\n"
        "with locked(sys.argv[1]):\n"
        "    child = os.fork()\n"
        "    if child == 0: print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        with locked(tmp_path / "a"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_gives_one_warning(tmp_path, monkeypatch, caplog):
    def none(handle):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "try_hold", none)
    for _ in range(2):
        with locked(tmp_path / "a"):
            pass
    assert len(caplog.records) == 1 and "without locks" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named_so(tmp_path, monkeypatch):
    """As for a user who may not write there; tests can run as one who may."""
    real = os.open

    def denied(path, flags, mode=0o777, **keywords):
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, flags, mode, **keywords)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError), locked(tmp_path / "store"):
        pass
