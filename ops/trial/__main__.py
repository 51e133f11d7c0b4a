"""`python -m ops.trial`: what `ops/trial/run` starts."""

from ops.trial.main import main

raise SystemExit(main())
