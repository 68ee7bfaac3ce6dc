"""Messages: printed by default, left to the program's logging where it has any."""

import logging
import subprocess
import sys

import pytest

from scdlab.log import logger

SCRIPT = """
import logging, sys
{configure}
from scdlab.log import logger
logger.info("Training takes 3 s.")
"""


@pytest.mark.parametrize(
    ("configure", "out", "err"),
    [
        ("", "Training takes 3 s.\n", ""),
        ("logging.basicConfig()", "", ""),
        ("logging.basicConfig(level='INFO')", "", "INFO:scdlab:Training takes 3 s.\n"),
        ("logging.getLogger('scdlab').setLevel('WARNING')", "", ""),
        ("logging.getLogger('scdlab').setLevel('INFO')", "Training takes 3 s.\n", ""),
        ("logging.getLogger('scdlab').disabled = True", "", ""),
        (
            "scdlab = logging.getLogger('scdlab'); scdlab.setLevel('INFO'); "
            "scdlab.addHandler(logging.StreamHandler(sys.stdout))",
            "Training takes 3 s.\n",
            "",
        ),
    ],
)
def test_a_program_decides_by_configuring_logging(configure, out, err):
    script = SCRIPT.format(configure=configure)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == (out, err, 0)


def test_a_message_is_a_record(caplog):
    with caplog.at_level(logging.INFO):
        logger.info("Training takes 3 s.")
    assert [(r.name, r.levelname, r.message) for r in caplog.records] == [
        ("scdlab", "INFO", "Training takes 3 s.")
    ]
