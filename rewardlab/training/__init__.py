"""What every training shares: run folders, checkpoints, the loop, the schedule of faces."""
