"""A folder that one process has for itself."""

import os
import subprocess
import sys

import pytest

from minidl.files.lock import hold

fcntl = pytest.importorskip("fcntl", reason="this system has no such locks")


class Owner:
    pass


def free(folder) -> bool:
    """Could another process, here another opening of the folder, have it?"""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True


def test_a_folder_is_held_as_long_as_its_owner_lives(tmp_path):
    owner, again = Owner(), Owner()
    hold(tmp_path, owner)
    hold(tmp_path, again)  # the same process
    assert not free(tmp_path) and not os.listdir(tmp_path)
    del again
    assert not free(tmp_path)
    del owner
    assert free(tmp_path)


def test_a_folder_that_another_process_holds_is_refused_until_it_is_killed(tmp_path):
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes) as other:
        other.stdout.readline()
        with pytest.raises(BlockingIOError, match="another process is training in this folder"):
            hold(tmp_path, owner := Owner())
        other.kill()
    hold(tmp_path, owner)
