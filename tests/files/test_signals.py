import os
import signal

import pytest

from spectrum_matching.files.signals import ENDING, Stopped, noted, raised

pytestmark = pytest.mark.usefixtures("signals_not_ignored")


@pytest.mark.parametrize("number", ENDING)
def test_raised_stops_the_work_with_the_number_of_the_signal(number):
    before = [signal.getsignal(each) for each in ENDING]
    with pytest.raises(Stopped) as stopped, raised():
        os.kill(os.getpid(), number)
    assert (stopped.value.number, str(stopped.value)) == (number, "interrupted")
    assert [signal.getsignal(each) for each in ENDING] == before


@pytest.mark.parametrize("number", ENDING)
def test_noted_lets_the_work_go_on_until_a_second_signal(number):
    with raised(), noted() as note:
        assert note.number == 0
        os.kill(os.getpid(), number)
        assert note.number == number
        with pytest.raises(Stopped):
            os.kill(os.getpid(), number)


def test_noted_takes_what_a_launcher_passes_on_for_the_same_signal():
    with raised(), noted(echo=60.0) as note:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert note.number == signal.SIGINT


def test_signals_that_are_ignored_stay_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with noted() as note, raised():
            os.kill(os.getpid(), signal.SIGUSR1)
        assert note.number == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
