"""The trial: real agent UIs, driven by `send-message`, against a stand-in model whose log is the truth."""
