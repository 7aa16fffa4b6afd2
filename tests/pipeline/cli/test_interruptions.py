"""Interruptions: none is lost where Python drops exceptions, and what comes of one is one."""

import os
import signal
import time
import weakref

import pytest

from pipeline.cli.interruptions import hearing_interruptions, interruptions_first


class Thing:
    """Something that a weak reference can be taken of."""


def hit(number):
    with hearing_interruptions():
        os.kill(os.getpid(), number)
        time.sleep(5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_polite_signal_is_an_interruption_and_the_handlers_of_before_come_back(number):
    def listener(number, frame):
        raise AssertionError("not ours")

    before = signal.signal(number, listener)
    try:
        with pytest.raises(KeyboardInterrupt):
            hit(number)
        assert signal.getsignal(number) is listener
    finally:
        signal.signal(number, before)


def test_what_was_ignored_stays_ignored_as_nohup_asks():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hearing_interruptions():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.2)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_one_that_comes_in_the_callback_of_a_weak_reference_comes_again():
    fallen_on_deaf_ears = []

    def callback(dead):
        fallen_on_deaf_ears.append(dead)
        os.kill(os.getpid(), signal.SIGINT)  # Python prints what is raised in here, and goes on

    def drop():
        thing = Thing()
        reference = weakref.ref(thing, callback)
        with hearing_interruptions():
            del thing
            assert reference() is None
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        drop()
    assert len(fallen_on_deaf_ears) == 1


def test_an_error_that_comes_of_an_interruption_is_the_interruption():
    def cut_in_two():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ImportError("numpy.core.multiarray failed to import") from None

    with pytest.raises(KeyboardInterrupt), hearing_interruptions(), interruptions_first():
        cut_in_two()
    with pytest.raises(ImportError), hearing_interruptions(), interruptions_first():
        raise ImportError("of its own")
