"""What the rq worker of rq_session.py runs."""


def add(one, other):
    return one + other


def fail():
    raise ValueError("as told")


def sum_of_parents():
    from rq import get_current_job

    return sum(job.return_value() for job in get_current_job().fetch_dependencies())
