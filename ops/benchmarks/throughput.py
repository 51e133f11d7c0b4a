"""Deliveries a second, everything durable, against bare process starts and against the others."""

import subprocess
import sys
import time

from ops.benchmarks.world import Cpu, World, cpu_of, empty_bus, true_agents

BARE = """
import subprocess, sys, threading, time
count, threads = int(sys.argv[1]), int(sys.argv[2])
def work():
    for _ in range(count // threads):
        subprocess.run(["/bin/true"], stdin=subprocess.DEVNULL, check=True)
workers = [threading.Thread(target=work) for _ in range(threads)]
begin = time.perf_counter()
for worker in workers: worker.start()
for worker in workers: worker.join()
print(count / (time.perf_counter() - begin))
"""


def bare(count: int, threads: int) -> float:
    """Process starts a second by `subprocess.run` from so many threads of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(count), str(threads)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def ours(count: int, lanes: int, threads: int, url: str, **transport: object) -> tuple[float, Cpu, Cpu]:
    """Deliveries a second of the real consumer, from the first start to the last settle; CPU of worker, launcher."""
    with World(true_agents(lanes, **transport), url=url) as world:
        world.fill(count // lanes)
        with world.worker("-w", str(threads)) as process:
            world.wait(lambda: world.read("select 1 from attempts limit 1"), process, every=0.005)
            launcher = world.launcher_pid(process)
            before = cpu_of(process.pid), cpu_of(launcher)
            left = world.read("select count(*) from deliveries where state <> 'succeeded'")[0][0]
            world.wait_until_done(process)
            worker, starter = cpu_of(process.pid) - before[0], cpu_of(launcher) - before[1]
        begin, end = world.proof(count // lanes * lanes)
        return count / (end - begin), Cpu(worker.own / left, 0), Cpu(starter.own / left, starter.children / left)


if __name__ == "__main__":
    count, lanes, threads, rounds = map(int, sys.argv[1:5])
    with empty_bus() as url:
        ratios = []
        for _ in range(rounds):
            b = bare(count, threads)
            o, w, l = ours(count, lanes, threads, url)
            b = (b + bare(count, threads)) / 2
            ratios.append(o / b)
            print(f"{o / b:.2f} bare {b:.0f} ours {o:.0f} us: worker {w.own*1e6:.0f} launcher {l.own*1e6:.0f} children {l.children*1e6:.0f}", flush=True)
        print("median", sorted(ratios)[len(ratios) // 2])
