"""The trial of `wake`'s channels: real agent UIs, by the command alone and by the whole worker."""
