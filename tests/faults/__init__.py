"""The fault harness: real consumers, killed and starved, judged by what their transports wrote down themselves."""
