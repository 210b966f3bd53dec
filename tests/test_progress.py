"""Progress in a log and in a terminal."""

import os
import pty
import subprocess
import sys
import time

import pytest

from chesslm import progress

SCRIPT = """
from chesslm.progress import Line, counting
line = Line(quiet=False, live=0)
line.show("one")
line.show("two")
line.close()
with counting(3, quiet=False) as advance:
    advance()
"""


def test_bars_are_lines_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)

    def wait_for(wanted: str) -> None:
        seen = ""
        for _ in range(400):
            time.sleep(0.05)
            seen += capsys.readouterr().err
            if wanted in seen:
                return
        raise AssertionError(seen)

    with progress.bars(quiet=False) as shown:
        shown.bar("setting the exam", None)
        wait_for("setting the exam, 0 s\n")
        advance = shown.bar("a model", 2000)
        advance(1500)
        wait_for("a model: 1,500 of 2,000")
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
    with progress.bars(quiet=True) as shown:
        shown.bar("setting the exam", None)
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_a_line_is_kept_up_to_date_in_a_terminal_and_repeated_in_a_log() -> None:
    command = [sys.executable, "-c", SCRIPT]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == "one\ntwo\n"
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stderr=theirs) as process:
        os.close(theirs)
        assert process.wait(60) == 0
    seen = os.read(ours, 1000).decode()
    os.close(ours)
    assert seen == "\r\x1b[Kone\r\x1b[Ktwo\r\n"
