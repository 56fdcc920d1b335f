# SPDX-License-Identifier: MIT
"""uWSGI: a master that has loaded the application's data, and workers that it forks. For each request, which comes over
a socket, a worker changes some of the data, sums it up, answers and is replaced. `job_uwsgi.py` forks the client and
then executes the master; uWSGI loads this file as the application."""
import os
import signal
import socket
import sys
import time

sys.dont_write_bytecode = True
mib, forks, pause = int(os.environ.get("MB", 600)), int(os.environ.get("FORKS", 5)), float(os.environ.get("PAUSE", 0.1))
SOCKET, LOG, WORKERS, PATIENCE = "uwsgi.sock", "uwsgi.log", 2, 200
count = mib * 3300


def change(rows, shift):
    for i in range(shift, count, 2000):
        rows[i] = [i + shift, "changed %d" % shift, (shift, i)]


def check(rows):
    return sum(rows[i][0] + len(rows[i][1]) + rows[i][2][1] for i in range(0, count, 31))


def application(environ, start_response):
    """The same for whichever worker: all begin with what the master has."""
    change(data, int(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % check(data)]


def ask(number):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(SOCKET)
        connection.sendall(b"GET /?%d HTTP/1.0\r\n\r\n" % number)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), body.decode()


def spawned():
    """How many workers the master has forked, by its log."""
    with open(LOG, encoding="utf-8", errors="replace") as log:
        return log.read().count("spawned uWSGI worker ")


def wait_until(found, what):
    end = time.monotonic() + PATIENCE
    while not found():
        if time.monotonic() > end:
            sys.exit("uWSGI: %s did not come" % what)
        time.sleep(0.02)


def client():
    """Asks until the master has forked as often as it is to: its first workers, and one for each that has answered."""
    wait_until(lambda: os.path.exists(SOCKET) and spawned() == WORKERS, "the first workers")
    for number in range(forks - WORKERS):
        time.sleep(pause)
        print("answer", number, *ask(number), flush=True)
        wait_until(lambda: spawned() > WORKERS + number, "another worker")
    # uWSGI's workers do not end by a signal that comes while they begin.
    time.sleep(pause)
    os.kill(os.getppid(), signal.SIGINT)


if __name__ != "__main__":
    data = {i: [i, "value of %d" % i, (i, i + 1)] for i in range(count)}
elif sys.argv[1:] == ["client"]:
    client()
else:
    here = os.path.abspath(__file__)
    for left in (SOCKET, LOG):
        if os.path.exists(left):
            os.unlink(left)
    os.posix_spawn(sys.executable, [sys.executable, here, "client"], os.environ)
    os.execvp("uwsgi_python3", ["uwsgi_python3", "--http-socket", SOCKET, "--master", "--processes", str(WORKERS),
                                "--max-requests", "1", "--min-worker-lifetime", "0", "--forkbomb-delay", "0",
                                "--worker-reload-mercy", "5", "--need-app", "--disable-logging",
                                "--logto", LOG, "--wsgi-file", here])
