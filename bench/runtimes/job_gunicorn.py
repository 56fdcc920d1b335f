# SPDX-License-Identifier: MIT
"""gunicorn --preload: its configuration and the application in one module. The master holds the data. Each new worker
changes some of it, sums it up and exits; the master replaces it."""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
mib, forks, pause = int(os.environ.get("MB", 600)), int(os.environ.get("FORKS", 5)), float(os.environ.get("PAUSE", 0.1))
bind, workers, preload_app, errorlog = "unix:gunicorn.sock", 1, True, "gunicorn.log"
pythonpath = os.path.dirname(os.path.abspath(__file__))
timeout = graceful_timeout = 300
count = mib * 3300


class Data:
    rows = {}  # the application's: the configuration is read for itself


def of_application():
    import job_gunicorn
    return job_gunicorn.Data.rows


def change(shift):
    rows = of_application()
    for i in range(shift, count, 2000):
        rows[i] = [i + shift, "changed %d" % shift, (shift, i)]


def check():
    rows = of_application()
    return sum(rows[i][0] + len(rows[i][1]) + rows[i][2][1] for i in range(0, count, 31))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(check()).encode()]


def post_fork(_server, worker):
    if worker.age <= forks:
        change(worker.age + 100)
        print("child", worker.age, check(), flush=True)
        os._exit(0)


def child_exit(_server, worker):
    change(worker.age)
    print("parent", worker.age, check(), flush=True)
    time.sleep(pause)
    if worker.age == forks:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "job_gunicorn":
    Data.rows = {i: [i, "value of %d" % i, (i, i + 1)] for i in range(count)}
