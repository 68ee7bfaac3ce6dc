"""What every test shares: nothing leaves the machine, examples are the same in every run, pictures
need no screen."""

import ipaddress
import os
import re
import socket

import hypothesis
import pytest

from scdlab import lessons

SLOW = ("browser", "lessons")  # folders of tests

os.environ.setdefault("MPLBACKEND", "Agg")
hypothesis.settings.register_profile(
    "kit", deadline=None, derandomize=True, print_blob=True
)  # time is not asserted
hypothesis.settings.load_profile("kit")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """Mark what must run in one process (`--dist=loadgroup`), and start what takes longest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.parent.name not in SLOW)  # files keep their order


def group_of(item: pytest.Item) -> str:
    """What shares something expensive is one group, else the tests of a file are.

    One process opens JupyterLab; one process runs a lesson for all of its tests. So a test of a
    lesson has the lesson's number as its parameter, or in its name: `lesson_02`.
    """
    folder = item.path.parent.name
    if folder in SLOW and (lesson := re.search(r"lesson_(\d\d[a-z]?)", item.name)):
        return f"lesson {lesson[1]}"
    if folder == "lessons" and (lesson := re.search(r"\[(\d+[a-z]?)\]$", item.name)):
        return f"lesson {lesson[1].zfill(2)}"
    return "JupyterLab" if folder == "browser" else item.path.stem


@pytest.fixture(autouse=True, scope="session")
def offline():
    """Refuse every connection but those to this machine itself: the kit works without a network."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise OSError(f"a test tried to reach {address[0]}: the kit must work offline")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, not a number
        return host == "localhost"


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """ran(number) -> the LessonResult of that lesson in the quick profile."""
    out = tmp_path_factory.mktemp("lessons")
    results = {}

    def run(number):
        number = f"{number:02d}" if isinstance(number, int) else number
        if number not in results:
            (results[number],) = lessons.run(
                number, profile="quick", out=out / str(number), device="cpu"
            )
        return results[number]

    return run
