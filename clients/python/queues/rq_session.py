#!/usr/bin/env python3
"""rq runs real jobs to the end: `rq_session.py HOST PORT`. Its keys have no tag in common, so the pool has one shard.

The worker is rq's own, in a process of its own, which ends when there is nothing left to do.
"""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import rq
from redis import Redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry

import rq_jobs

HERE = Path(__file__).resolve().parent
JOBS = 40


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    redis = Redis(host, port)
    queues = [Queue("high", connection=redis), Queue("low", connection=redis)]
    jobs = [queues[i % 2].enqueue(rq_jobs.add, i, 1, result_ttl=600) for i in range(JOBS)]
    failing = queues[1].enqueue(rq_jobs.fail)
    retried = queues[1].enqueue(rq_jobs.fail, retry=Retry(max=2))
    parents = queues[0].enqueue_many([Queue.prepare_data(rq_jobs.add, (i, i), result_ttl=600) for i in (1, 2)])
    child = queues[1].enqueue(rq_jobs.sum_of_parents, depends_on=parents, result_ttl=600)
    later = queues[0].enqueue_in(timedelta(hours=1), rq_jobs.add, 1, 2)
    expect("waiting", len(queues[0]) + len(queues[1]), JOBS + 4)
    expect("a job that waits for others", child.get_status(), JobStatus.DEFERRED)

    # In bursts: the worker ends when its queues are empty. The child is queued when its parents are done.
    worker = [Path(sys.executable).parent / "rq", "worker", "--burst", "--url", f"redis://{host}:{port}", "high", "low"]
    environment = dict(os.environ, PYTHONPATH=str(HERE))
    done = subprocess.run(worker, env=environment, capture_output=True, text=True, timeout=50)
    expect(f"the worker's end\n{done.stderr}", done.returncode, 0)

    expect("results", [result(job, redis) for job in jobs], [i + 1 for i in range(JOBS)])
    expect("the result of dependent jobs", result(child, redis), 6)
    expect("left", len(queues[0]) + len(queues[1]), 0)
    for job in (failing, retried):
        expect("a failed job", Job.fetch(job.id, connection=redis).get_status(), JobStatus.FAILED)
    registry = FailedJobRegistry(queue=queues[1])
    expect("the registry of failed jobs", set(registry.get_job_ids()), {failing.id, retried.id})
    expect("finished", FinishedJobRegistry(queue=queues[0]).count, JOBS // 2 + 2)
    expect("scheduled", ScheduledJobRegistry(queue=queues[0]).get_job_ids(), [later.id])

    # Again, by a worker within this process, after an operator has put it back.
    registry.requeue(failing.id)
    SimpleWorker([queues[1]], connection=redis).work(burst=True, logging_level="ERROR")
    expect("it fails again", registry.count, 2)
    print(f"rq {rq.__version__}: all jobs ran to the end")


def result(job, redis):
    return Job.fetch(job.id, connection=redis).return_value()


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"rq {rq.__version__}: {what}: got {got!r:.800}, wanted {wanted!r:.500}")


if __name__ == "__main__":
    main()
