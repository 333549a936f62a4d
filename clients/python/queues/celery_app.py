"""The Celery application of celery_session.py: all of its keys have one hash tag."""

import os

from celery import Celery

# `global_keyprefix` stands before every key and channel of broker and results, so that all are on one shard.
PREFIX = os.environ.get("SHOAL_QUEUE_PREFIX", "{celery}:")
OPTIONS = {"global_keyprefix": PREFIX, "visibility_timeout": 3600}

app = Celery("jobs", broker=os.environ["SHOAL_URL"], backend=os.environ["SHOAL_URL"])
app.conf.update(
    broker_transport_options=OPTIONS,
    result_backend_transport_options={"global_keyprefix": PREFIX},
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    result_expires=600,
    task_acks_late=True,
    worker_send_task_events=True,
)


@app.task
def add(one, other):
    return one + other


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=2, default_retry_delay=0)
def fails_twice(self):
    if self.request.retries < 2:
        raise self.retry()
    return self.request.retries
