"""What the measuring scripts share: an idle machine to begin with, `raftmq bench`, and how figures
are written."""

import json
import math
import os
import subprocess
import sys
import time

import systems


def say(text):
    print("%s %s" % (time.strftime("%H:%M:%S"), text), file=sys.stderr, flush=True)


def busy_share(seconds):
    def times():
        fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    total, idle = times()
    time.sleep(seconds)
    total_after, idle_after = times()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def await_idle(limit_s=20):
    """Another system's end, or a start's own housekeeping, must not be measured. Some systems are never
    idle by themselves; that is theirs to answer for."""
    end = time.monotonic() + limit_s
    share = busy_share(2)
    while share > 0.10:
        if time.monotonic() > end:
            say("  not idle: %.0f %% of the machine is busy" % (share * 100))
            return
        share = busy_share(2)


def bench_command(system, mode, *arguments):
    return [str(systems.RAFTMQ), "bench", mode, "-n", system.name_servers, "--json", *arguments]


def report_of(command, printed, exit_code):
    if exit_code not in (0, 1) or not printed.strip():
        raise SystemExit("%s ended with %d" % (" ".join(command), exit_code))
    report = json.loads(printed.strip().splitlines()[-1])
    say("  %s: %s" % (" ".join(command[2:3] + command[6:]), json.dumps(report)))
    return report


def bench(system, mode, *arguments):
    command = bench_command(system, mode, *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return report_of(command, done.stdout, done.returncode)


def build(kinds):
    """Our program, and the others' files if any of them is wanted."""
    command = ["cargo", "build", "--release", "--locked", "--bin", "raftmq"]
    subprocess.run(command, cwd=systems.ROOT, check=True)
    if any(issubclass(kind, systems.Apache) for kind in kinds):
        systems.Apache.prepare()


def cell(value, unit=""):
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if unit == "k/s":
        return "%.1f k/s" % (value / 1000)
    if isinstance(value, int):
        return str(value)
    return (("%.2f %s" if value < 10 else "%.0f %s") % (value, unit)).strip()


def write_results(file, titles, rows):
    """For `raftmq bench --beside`. A row: title, unit, whether more is better, a value of each system."""
    keys = ("title", "unit", "more_is_better", "values")
    results = {"measured_at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
               "machine": "%d cores, load generator on the same machine" % os.cpu_count(),
               "systems": titles, "rows": [dict(zip(keys, row)) for row in rows]}
    with open(file, "w") as out:
        json.dump(results, out, indent=1)
        out.write("\n")
    say("results in %s" % file)
