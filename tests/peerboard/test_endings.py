"""A polite kill and a terminal that closes clear up as Ctrl-C does, and say which of them it was."""

import os
import signal
from collections.abc import Iterator

import pytest
import trio

from peerboard.endings import ENDING_SIGNALS, ending_like_control_c, without_interrupts


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever a test does to signals, the next one finds them as they were, and this one left them alone."""
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        yield
        assert {number: signal.getsignal(number) for number in ENDING_SIGNALS} == before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING_SIGNALS[1:], ids=lambda each: each.name)
def test_the_exit_code_names_the_signal(number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as ended, ending_like_control_c():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number


def test_control_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), ending_like_control_c():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", ENDING_SIGNALS[1:], ids=lambda each: each.name)
def test_what_a_nursery_holds_is_cleared_up(number: signal.Signals) -> None:
    cleared = []

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.to_thread.run_sync(os.kill, os.getpid(), number)
                await trio.sleep_forever()
            finally:
                cleared.append(number)

    with pytest.raises(SystemExit) as ended, ending_like_control_c():
        trio.run(work)
    assert (ended.value.code, cleared) == (128 + number, [number])


def test_an_error_is_no_interruption() -> None:
    def fail_to_clear_up() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ZeroDivisionError from None

    with pytest.raises(ZeroDivisionError), ending_like_control_c():
        fail_to_clear_up()


def test_a_hangup_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending_like_control_c() as interruption:
        signal.raise_signal(signal.SIGHUP)
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN
    assert interruption.code == 128 + signal.SIGINT


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda each: each.name)
def test_what_a_script_runs_in_the_background_ends_too(number: signal.Signals) -> None:
    async def work() -> None:
        await trio.to_thread.run_sync(os.kill, os.getpid(), number)
        await trio.sleep_forever()

    def run() -> None:
        with ending_like_control_c():
            trio.run(work)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run()
    assert signal.signal(signal.SIGINT, before) == signal.SIG_IGN


def test_clearing_up_is_not_interrupted() -> None:
    with ending_like_control_c() as interruption, without_interrupts():
        for number in ENDING_SIGNALS:
            signal.raise_signal(number)
    assert interruption.code == 130
