#!/usr/bin/env python3
"""Celery runs real tasks to the end: `celery_session.py HOST PORT`. Its keys have one tag, so the pool may have many shards."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASKS = 40
os.environ["SHOAL_URL"] = f"redis://{sys.argv[1]}:{sys.argv[2]}/0"

import celery  # noqa: E402
from celery import chain, chord, group  # noqa: E402
from celery_app import add, app, fails_twice, total  # noqa: E402


def main():
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2", "--loglevel", "INFO"]
        worker = subprocess.Popen(command + ["--without-mingle"], cwd=HERE, stdout=log, stderr=subprocess.STDOUT)
        try:
            session()
        except BaseException:
            log.seek(0)
            print(log.read()[-6000:], file=sys.stderr)
            raise
        finally:
            worker.terminate()  # a warm shutdown: what it has begun it ends
            worker.wait(30)
    print(f"celery {celery.__version__}: all tasks ran to the end")


def session():
    results = [add.delay(i, 1) for i in range(TASKS)]
    expect("results", [result.get(timeout=30) for result in results], [i + 1 for i in range(TASKS)])
    expect("a chain", chain(add.s(1, 2), add.s(3), add.s(4)).delay().get(timeout=30), 10)
    expect("a group", group(add.s(i, i) for i in range(10)).delay().get(timeout=30), [2 * i for i in range(10)])
    expect("a chord", chord(group(add.s(i, 1) for i in range(10)), total.s()).delay().get(timeout=30), 55)
    expect("retries", fails_twice.delay().get(timeout=30), 2)
    expect("a task with a countdown", add.apply_async((1, 1), countdown=0.2).get(timeout=30), 2)
    # Remote control goes by fan-out, which is Pub/Sub.
    deadline = time.monotonic() + 20
    while not (replies := app.control.ping(timeout=1)):
        if time.monotonic() > deadline:
            sys.exit("celery: no worker answers to a ping")
    expect("a ping by fan-out", [list(reply.values()) for reply in replies], [[{"ok": "pong"}]])


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"celery {celery.__version__}: {what}: got {got!r:.500}, wanted {wanted!r:.500}")


if __name__ == "__main__":
    main()
