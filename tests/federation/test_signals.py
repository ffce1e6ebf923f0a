"""A signal is not missed, whichever thread the system gives it to."""

from __future__ import annotations

import signal
import threading

import pytest

from federation.signals import SIGNALS, StopSignals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_another_thread_takes_wakes_the_main_thread(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    assert other.ident is not None
    with StopSignals() as signals:
        threading.Timer(0.2, signal.pthread_kill, (other.ident, number)).start()
        signals.wait()
    done.set()
    other.join()
    assert signal.getsignal(number) is before


def test_a_signal_that_came_before_is_kept() -> None:
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signals.wait()


def test_it_can_be_woken_and_nobody_need_wait_any_more() -> None:
    with StopSignals() as signals:
        threading.Timer(0.1, signals.wake).start()
        signals.wait()
    signals.wake()


def test_other_signals_do_not_end_the_wait() -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGUSR2)
        late = threading.Event()

        def wake() -> None:
            late.set()
            signals.wake()

        threading.Timer(0.2, wake).start()
        signals.wait()
        assert late.is_set(), "it has waited for what came after"
    signal.signal(signal.SIGUSR2, before)
