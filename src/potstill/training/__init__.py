"""Training: token-budget batches, the task (towers and terms), row-wise Adam, checkpoints, the loop."""
