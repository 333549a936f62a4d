"""What the sessions of redis-py stand on: strict comparison, and waiting."""

import sys
import time

import redis

SECONDS = 20  # for what must come true


def expect(what, got, wanted):
    if got != wanted or kinds(got) != kinds(wanted):
        fail(f"{what}: got {got!r:.500}, wanted {wanted!r:.500}")


def kinds(value):
    """The types all through: 1, 1.0 and True are equal, and not the same reply."""
    if isinstance(value, dict):
        return [(kinds(key), kinds(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [kinds(item) for item in value]
    return type(value)


def wait_until(what, condition):
    """Asks `condition` until it is true, and gives what it said."""
    deadline = time.monotonic() + SECONDS
    while not (said := condition()):
        if time.monotonic() > deadline:
            fail(f"waited {SECONDS} s in vain: {what}")
        time.sleep(0.005)
    return said


def fail(message):
    sys.exit(f"redis-py {redis.__version__}: {message}")
