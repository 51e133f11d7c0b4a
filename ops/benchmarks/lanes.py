"""Many lanes at once against the ideal, and what one slow lane costs the others."""

from ops.benchmarks import rivals
from ops.benchmarks.table import Row, in_turn, median_row, ratios
from ops.benchmarks.world import World, paging_bus, true_agents

SLEEP = ["/bin/sleep", "0.1"]


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    rounds, agents, each = (1, 10, 3) if quick else (3, 40, 40)
    with paging_bus(0) as url:
        ideal = each * 0.1
        bare, ours = in_turn(rounds, lambda: _bare(agents, each), lambda: _sleepers(agents, each, url))
        what = f"{agents} agents, 100 ms transports, -w {agents}"
        rows = [
            median_row("lanes", f"{what}: ideal : needed", [ideal / t for t in ours], "", ">= 0.9"),
            median_row("lanes", f"{what}: bare threads : ideal", [ideal / t for t in bare]),
        ]
        alone, beside = in_turn(
            rounds, lambda: _others(url, each * 4, slow=False), lambda: _others(url, each * 4, slow=True)
        )
        rows.append(median_row("lanes", "4 lanes beside a slow one : without it", ratios(beside, alone), "", ">= 0.9"))
    return rows


def _bare(agents: int, each: int) -> float:
    """Seconds that so many threads need for it."""
    return agents * each / rivals.bare(agents * each, agents, argv=SLEEP)


def _sleepers(agents: int, each: int, url: str) -> float:
    with World(true_agents(agents, command=SLEEP), url=url) as world:
        world.fill(each)
        with world.worker("-w", str(agents)) as process:
            world.wait_until_done(process)
        begin, end = world.proof(agents * each)
        return end - begin


def _others(url: str, each: int, *, slow: bool) -> float:
    """Deliveries a second of 4 lanes, perhaps beside one whose transport takes a second; 8 threads."""
    agents = true_agents(4)
    if slow:
        agents.append({"agent": "slow", "transports": [{"name": "slow", "command": ["/bin/sleep", "1"]}]})
    with World(agents, url=url) as world:
        world.fill(each)
        if slow:
            world.change("delete from messages where agent = 'slow' and ms not in (select min(ms) from messages)")
        with world.worker("-w", "8") as process:
            world.wait_until_done(process)
        world.proof(4 * each + slow)
        span = world.read(
            "select min(started_at), max(ended_at) from attempts where lane in"
            " (select id from lanes where agent <> 'slow')"
        )[0]
        return float(4 * each / (span[1] - span[0]))
