"""One world for the tests that run real commands, in parts that are fixtures of `tests/conftest.py`.

`config.Home` is a folder to be $HOME, with a configuration; `processes.Process` a command that was started in it;
`world.World` a home in which commands are run (fixtures `world` and `world_of`); `installation` gives a world an
environment of its own; `engine.Rig` is an engine in this process; `waiting.until` waits for what no event tells. Buses
are `tests.fakes.bridges` (fixture `bridge_of`).
"""
