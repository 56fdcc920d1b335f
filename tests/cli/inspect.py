# SPDX-License-Identifier: MIT
# odfork inspect, held against processes of which the test knows what they are. No times: what a fork takes is
# compared with what was said of it by bench/inspect.py. Results in TAP.
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["ODF_BUILD"]
SOURCE = os.environ["ODF_SOURCE"]
CC = os.environ.get("ODF_CC", "cc").split()
MUST_WORK = os.environ.get("ODF_MUST_WORK") == "1"
INSPECTED = BUILD + "/tests/inspected"
ODFORK = BUILD + "/odfork"
LIBRARY = BUILD + "/libodfork.so.0"
MIB = 1 << 20
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
count = failed = 0


def case(name):
    def decorate(function):
        global count, failed
        count += 1
        try:
            skip = function()
            if skip and MUST_WORK:
                failed += 1
                print("not ok %d - %s # must work here: %s" % (count, name, skip))
            else:
                print("ok %d - %s%s" % (count, name, " # SKIP " + skip if skip else ""))
        except Exception as error:
            failed += 1
            print("not ok %d - %s" % (count, name))
            for line in (type(error).__name__ + ": " + str(error)).splitlines():
                print("# " + line)
        sys.stdout.flush()
    return decorate


class Target:
    def __init__(self, *words, program=INSPECTED, prefix=(), env=None):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ODFORK_") and k != "LD_PRELOAD"}
        environment.update(env or {})
        self.process = subprocess.Popen([*prefix, program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=environment, text=True)
        self.pid = self.process.pid
        self.said = self.process.stdout.readline().split()
        assert self.said and self.said[-1] == "ready", (words, self.said, self.process.wait(10))

    def do(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


def run(pid, *options, prefix=(), status=0):
    done = subprocess.run([*prefix, ODFORK, "inspect", *options, str(pid)], capture_output=True, text=True, timeout=300)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def quick(pid, **rest):
    return json.loads(run(pid, "--quick", "--json", **rest).stdout)


def about(value, expected, more):
    assert expected <= value <= expected + more, "%d is not %d to %d" % (value, expected, expected + more)


def names(found):
    return {obstacle["name"]: obstacle for obstacle in found["obstacles"]}


def from_kernel(pid):
    with open("/proc/%d/smaps_rollup" % pid) as rollup:
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in rollup if line.endswith("kB\n")}


# What the kernel says is the same before and after: amid a look it may take pages away, or make large ones of them.
def beside_kernel(pid):
    for _ in range(100):
        before, found, after = from_kernel(pid), quick(pid), from_kernel(pid)
        if all(before[name] == after[name] for name in ("Rss", "Anonymous", "AnonHugePages")):
            return found, after
    raise AssertionError((before, after))


@case("memory: private, shared, kept from children, untouched")
def memory():
    with Target("private=64", "shared=16", "dontfork=20", "untouched=1000") as target:
        found, kernel = beside_kernel(target.pid)
        facts = found["memory"]
        about(facts["private_4k"], 84 * MIB, 2 * MIB)
        about(facts["shared"], 16 * MIB, MIB)
        about(facts["kept_from_children"], 20 * MIB, 0)
        about(facts["copied_pages_4k"] * 4096, 64 * MIB, 3 * MIB)
        # It may have gone on a little in between.
        about(kernel["Rss"], facts["resident"], 16384)
        about(kernel["Anonymous"], facts["private_4k"] + facts["private_2m"], 16384)
        with open("/proc/%d/status" % target.pid) as status:
            tables = int(re.search(r"VmPTE:\s+(\d+)", status.read()).group(1)) * 1024
        assert facts["page_tables"] == tables
        with open("/proc/%d/maps" % target.pid) as maps:
            assert facts["mappings"] == len(maps.readlines())
        about(found["in_regions"], 64 * MIB, 2 * MIB)
        assert found["library"] is None and found["fork"] is None and found["rate"] is None
        text = run(target.pid, "--quick").stdout
        assert "84." in text and "libodfork    is not in it" in text, text


@case("memory: mappings that a fork copies")
def pieces():
    with Target() as target:
        plain = quick(target.pid)["memory"]
    with Target("pieces=500") as target:
        facts = quick(target.pid)["memory"]
    about(facts["mappings"], plain["mappings"] + 998, 4)
    about(facts["copied_mappings"], plain["copied_mappings"] + 499, 2)
    about(facts["copied_pages_4k"], plain["copied_pages_4k"] + 490, 30)


@case("memory: pages of 2 MiB")
def huge():
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as enabled:
        if "[never]" in enabled.read():
            return "no huge pages here"
    with Target("huge=32") as target:
        found, kernel = beside_kernel(target.pid)
        facts = found["memory"]
        assert facts["private_2m"] == kernel["AnonHugePages"], (facts, kernel)
        assert facts["copied_pages_2m"] == kernel["AnonHugePages"] // (2 * MIB), (facts, kernel)
        about(facts["private_2m"] + facts["private_4k"], 32 * MIB, 2 * MIB)
        about(facts["huge_asked"], 32 * MIB, 0)


@case("costs: what is said follows from what was measured, and grows with the process")
def costs():
    with Target("private=16") as small, Target("private=512") as large:
        few, many = (json.loads(run(t.pid, "--json").stdout) for t in (small, large))
        for found in few, many:
            machine, said = found["machine"], found["fork"]
            assert machine["measured_bytes"] >= 16 * MIB and machine["base_us"] > 0, machine
            assert 0 < machine["page_4k_ns"][0] <= machine["page_4k_ns"][1] \
                    and machine["page_4k_ns"][0] <= machine["scattered_4k_ns"][0], machine
            assert 0 < said["low_us"] <= said["us"] <= said["high_us"] and 0.1 < said["error"], said
            if machine["region_us"] is not None:
                assert found["under"]["us"] < said["us"] or found is few, found
        pages = many["memory"]["copied_pages_4k"]
        least, most = many["machine"]["page_4k_ns"][0], many["machine"]["scattered_4k_ns"][1]
        about(pages, 131072, 2000)
        assert pages * least / 1e3 * 0.9 <= many["fork"]["low_us"] \
                and many["fork"]["high_us"] <= 3 * pages * most / 1e3 + 3000, many
        assert many["fork"]["us"] > few["fork"]["us"], (few["fork"], many["fork"])
        assert many["advice"].startswith("Start it by: odfork run "), many["advice"]
        if os.geteuid() == 0:
            assert 0 <= many["memory"]["scattered"] <= 1, many["memory"]


def children(found, forks, spawns):
    assert (found["rate"]["forks"], found["rate"]["spawns"]) == (forks, spawns), found["rate"]


# Root's, where nobody has mounted tracefs: a mount namespace of the command's own, in which it is.
def with_tracefs():
    tracing = "/sys/kernel/tracing"
    if os.geteuid() != 0 or os.path.exists(tracing + "/events") or os.path.exists("/sys/kernel/debug/tracing/events"):
        return []
    mount = ["unshare", "--mount", "sh", "-c", "mount -t tracefs tracefs %s && exec \"$@\"" % tracing, "sh"]
    return mount if subprocess.run([*mount, "true"], stderr=subprocess.DEVNULL).returncode == 0 else []


@case("forks and spawns are counted, by the tracepoint")
def tracepoint():
    with Target() as target:
        inspect = subprocess.Popen([*with_tracefs(), ODFORK, "inspect", "--json", "--watch=2", str(target.pid)],
                stdout=subprocess.PIPE, text=True)
        first = json.loads(inspect.stdout.readline())
        rates = []
        if first["rate"]["by"] == "tracepoint":
            target.do("forks 11")
            target.do("spawns 7")
            # Two lines at least, and as many as they were made in.
            while len(rates) < 2 or sum(rate["forks"] + rate["spawns"] for rate in rates) < 18:
                assert len(rates) < 50, rates
                rates.append(json.loads(inspect.stdout.readline())["rate"])
        inspect.terminate()
        inspect.stdout.close()
        assert inspect.wait(120) == -15, inspect.returncode
        if first["rate"]["by"] != "tracepoint":
            return "no tracepoint: " + first["rate"]["why"]
        children(first, 0, 0)
        assert sum(rate["forks"] for rate in rates) == 11 and sum(rate["spawns"] for rate in rates) == 7, rates
        assert all(rate["complete"] and rate["seconds"] >= 2 for rate in rates), rates


@case("forks and spawns are counted, by looking, without permission for the tracepoint")
def looking():
    if os.geteuid() != 0:
        return "needs root"
    with Target(prefix=NOBODY) as target:
        inspect = subprocess.Popen([*NOBODY, ODFORK, "inspect", "--json", "--watch=2", str(target.pid)],
                stdout=subprocess.PIPE, text=True)
        first = json.loads(inspect.stdout.readline())
        assert first["rate"]["by"] == "sampling" and "root may" in first["rate"]["why"] \
                and not first["rate"]["complete"], first["rate"]
        # Each lives for 50 ms; a spawned one may be seen before it is the other program, and on a busy machine some
        # are not, or most: then there are more of them.
        seen = []
        while not seen or not (sum(seen[-1]) >= 10 and seen[-1][1] >= 5):
            assert len(seen) < 20, seen
            began = time.monotonic()
            target.do("forks 10")
            target.do("spawns 10")
            # The lines that came since, and the one that was on its way then.
            lines = [inspect.stdout.readline() for _ in range(int((time.monotonic() - began) // 2) + 2)]
            rates = [json.loads(line)["rate"] for line in lines]
            seen.append(tuple(sum(rate[kind] for rate in rates) for kind in ("forks", "spawns")))
            assert sum(map(sum, seen)) <= 20 * len(seen), seen
        inspect.terminate()
        inspect.stdout.close()
        inspect.wait(120)
        assert first["memory"]["scattered"] is None and first["fork"]["error"] > 0.3, first


@case("permissions are named")
def permissions():
    if os.geteuid() != 0:
        return "needs root"
    with Target() as target:
        done = run(target.pid, "--quick", prefix=NOBODY, status=125)
        said = "cannot be read: Permission denied. That needs to be its user (0), root, or to have CAP_SYS_PTRACE"
        assert said in done.stdout, done.stdout
        found = json.loads(run(target.pid, "--quick", "--json", prefix=NOBODY, status=125).stdout)
        assert found["memory"] is None and "CAP_SYS_PTRACE" in found["permission"], found
    with Target("undumpable", prefix=NOBODY) as target:
        done = run(target.pid, "--quick", prefix=NOBODY, status=125)
        assert "PR_SET_DUMPABLE" in done.stdout, done.stdout
        assert quick(target.pid)["memory"] is not None
    for missing in "4194304", "999999999":
        done = run(missing, status=125)
        assert "there is no process" in done.stderr and "hidepid" in done.stderr, done.stderr
    assert "a thread of the kernel" in run(2, "--quick", status=125).stdout or os.path.exists("/proc/2/exe")


@case("what stands against it: descriptors")
def descriptors():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for word, reason in (("direct=%s/file" % folder, "heap_pins"), ("userfault", "heap_userfault"),
                ("open=/dev/fuse", "heap_device"),
                             ("alg", "heap_device"), ("open=%s/file" % folder, None), ("open=/dev/null", None)):
            try:
                target = Target(word)
            except AssertionError:
                print("# %s: cannot be had here" % word)
                continue
            with target:
                found = names(quick(target.pid))
                assert (set(found) & {"heap_pins", "heap_userfault", "heap_device", "heap_file_system",
                        "unknown_file_system"}) == ({reason} - {None}), (word, found)
                if reason:
                    assert found[reason]["prevents"] and "descriptor " in found[reason]["text"], found


@case("what stands against it: sandbox, limits, locked memory")
def state():
    for word, reason in ("sandbox", "heap_sandbox"), ("lock", "heap_locked"), ("data=4000", "heap_limit"), \
            ("fsize=4000", "heap_limit"):
        if word == "lock" and os.geteuid() != 0:
            continue # more than may be locked
        with Target(word, "private=8") as target:
            found = names(quick(target.pid))
            assert reason in found, (word, found)
            assert found[reason]["prevents"] == (word != "sandbox"), found


@case("what stands against it: the program")
def programs():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        static = folder + "/static"
        subprocess.run([*CC, "-D_GNU_SOURCE", "-static", "-o", static, SOURCE + "/tests/cli/inspected.c"], check=True)
        with Target(program=static) as target:
            found = quick(target.pid)
            assert "statically linked" in names(found)["program"]["text"] and names(found)["program"]["prevents"], found
            assert found["malloc"] == "glibc" and found["malloc_in_program"], found
        if subprocess.run(["sh", "-c", "command -v musl-gcc"], stdout=subprocess.DEVNULL).returncode == 0:
            other = folder + "/musl"
            subprocess.run(["musl-gcc", "-D_GNU_SOURCE", "-idirafter", "/usr/include", "-idirafter",
                    "/usr/include/x86_64-linux-gnu", "-o", other,
                            SOURCE + "/tests/cli/inspected.c"], check=True)
            with Target(program=other) as target:
                found = quick(target.pid)
                assert "another C library" in names(found)["program"]["text"] and found["malloc"] == "musl", found
        elif MUST_WORK:
            raise AssertionError("no musl-gcc")
        if os.geteuid() == 0:
            gains = folder + "/gains"
            subprocess.run(["cp", INSPECTED, gains], check=True)
            os.chmod(gains, 0o4755)
            if not os.statvfs(folder).f_flag & os.ST_NOSUID:
                with Target(program=gains, prefix=NOBODY) as target:
                    assert names(quick(target.pid))["gains_rights"]["prevents"], quick(target.pid)


@case("allocators: libraries, and what is linked into the program")
def allocators():
    with Target() as target:
        found = quick(target.pid)
        assert found["malloc"] == "glibc" and "libc.so.6" in found["malloc_file"], found
    for library, name in (("libjemalloc.so.2", "jemalloc"), ("libmimalloc.so.2", "mimalloc"),
            ("libmimalloc.so.3", "mimalloc"),
                          ("libtcmalloc_minimal.so.4", "tcmalloc")):
        path = "/usr/lib/x86_64-linux-gnu/" + library
        if not os.path.exists(path):
            continue
        with Target(env={"LD_PRELOAD": path}) as target:
            found = quick(target.pid)
            assert found["malloc"] == name and library in found["malloc_file"] and not found["malloc_in_program"], \
                    (library, found)
    with tempfile.TemporaryDirectory() as folder:
        for function, name in ("je_mallctl", "jemalloc"), ("tc_malloc", "tcmalloc"), ("mi_malloc", "mimalloc"):
            program = folder + "/" + name
            subprocess.run([*CC, "-D_GNU_SOURCE", "-DALLOCATOR_FUNCTION=" + function, "-o", program,
                    SOURCE + "/tests/cli/inspected.c"], check=True)
            with Target(program=program) as target:
                found = quick(target.pid)
                assert found["malloc"] == name and found["malloc_in_program"], (function, found)


def wait_for(pid, condition):
    for _ in range(1200):
        found = quick(pid)
        if condition(found["library"]):
            return found
        time.sleep(0.1)
    raise AssertionError(found["library"])


@case("under the library: the heap, the last freeze and settle, and who holds a snapshot")
def library():
    with Target("private=40", "hold", "hold", env={"LD_PRELOAD": LIBRARY, "ODFORK_HEAP": "on"}) as target:
        held = [int(word) for word in target.said[:2]]
        found = quick(target.pid)
        state = found["library"]
        assert state["heap"] == "awake" and state["error"] == 0 and state["forks"] == 2 and state["spawns"] == 0, state
        # The heap's first one has no memory, and is not frozen.
        assert 1 <= state["regions"] - 1 <= state["frozen"] <= state["freezes"] and state["given_up"] == 0, state
        assert state["since_freeze"] >= 0 and state["last_freeze_us"] > 0 and state["heap_placed"] >= 40 * MIB, state
        assert sorted(holder["pid"] for holder in state["holders"]) == sorted(held) \
                and state["holders"][0]["name"] == "inspected", state
        about(found["memory"]["region"], 40 * MIB, 8 * MIB)
        for child in held:
            found = quick(child)["library"]
            assert found["heap"] == "inherited" and found["forks"] == 0 and found["freezes"] == 0, found
        text = run(target.pid, "--quick").stdout
        assert "heap awake; 2 forks" in text and "last freeze" in text, text
        assert all("%d (inspected)" % child in text.split("a snapshot is held by ")[1] for child in held), text
        for child in held:
            target.do("kill %d" % child)
        if os.geteuid() == 0: # an ordinary user may have no userfaultfd: it settles at the next fork
            state = wait_for(target.pid, lambda library: library["frozen"] == 0)["library"]
            assert state["settles"] >= 1 and state["since_settle"] >= 0, state
        assert quick(target.pid)["library"]["holders"] == []
        target.do("spawns 2")
        assert quick(target.pid)["library"]["spawns"] == 2
    with Target(env={"LD_PRELOAD": LIBRARY, "ODFORK_HEAP": "off"}) as target:
        state = quick(target.pid)["library"]
        assert state["heap"] == "off" and state["heap_reason"] == "heap_off" and state["regions"] == 0, state
    with Target(env={"LD_PRELOAD": LIBRARY}) as target:
        state = quick(target.pid)["library"]
        assert state["heap"] == "asleep" and state["heap_reason"] == "too_small", state


MAGIC = struct.pack("<QQ", 0x6465657366646f7f, 0x01b2c4d19e5a73e8)


@case("anything may stand where the library's state is looked for")
def garbage():
    random.seed(7)
    with open(LIBRARY, "rb") as file:
        whole = file.read()
    places = [match.start() for match in re.finditer(re.escape(MAGIC), whole)]
    assert len(places) > 20, "the library has %d entries" % len(places)
    script = "import mmap, sys\nf = open(sys.argv[1], 'rb')\n" \
             "m = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)\n" \
             "for at in range(0, len(m), 4096): m[at] = m[at]\nprint('ready', flush=True)\nsys.stdin.read()\n"
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/libodfork.so.0"
        for turn in range(12):
            bytes_ = bytearray()
            for _ in range(200):
                name = random.choice([whole[at + 16:at + 40] for at in places] + [os.urandom(24)])
                entry = MAGIC + name + struct.pack("<II", random.choice([1, 2, 1, 2, random.getrandbits(32)]),
                                                   random.choice([1, 4, 8, 8, random.getrandbits(32)]))
                entry += struct.pack("<Q", random.choice([0, 8, 1 << 47, (1 << 64) - 1, random.getrandbits(64),
                        0x400000]))
                bytes_ += entry + bytes(random.choice([0, 8, 3]))
            with open(path, "wb") as file:
                file.write(bytes_)
            process = subprocess.Popen(["/usr/bin/python3", "-c", script, path], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, text=True)
            try:
                assert process.stdout.readline() == "ready\n"
                quick(process.pid)
                run(process.pid, "--quick")
            finally:
                process.kill()
                process.wait()
                process.stdin.close()
                process.stdout.close()


@case("names go to a terminal without control characters, and JSON stays JSON")
def escapes():
    with tempfile.TemporaryDirectory() as folder:
        name = folder + "/a\x1b[31m\n\"b\u00e9"
        subprocess.run(["cp", INSPECTED, name], check=True)
        with Target(program=name) as target:
            text = run(target.pid, "--quick").stdout
            assert "\x1b" not in text, text
            assert json.loads(run(target.pid, "--quick", "--json").stdout)["program"] == name


@case("arguments")
def arguments():
    for words in [], ["x"], ["0"], ["-1"], ["1", "2"], ["--watch=0", "1"], ["--watch=x", "1"], ["--nonsense", "1"], \
            ["--quick", "--watch=1", "1"], ["--watch"]:
        done = subprocess.run([ODFORK, "inspect", *words], capture_output=True, text=True)
        assert done.returncode == 125 and done.stderr.startswith("odfork: inspect: ") and done.stdout == "", \
                (words, done)


print("1..%d" % count)
sys.exit(failed > 0)
