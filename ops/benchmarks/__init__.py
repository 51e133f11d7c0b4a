"""The benchmarks of `ops/bench`: each part is a module with a `run(quick)`; pairs run in turn, so that ratios hold."""
