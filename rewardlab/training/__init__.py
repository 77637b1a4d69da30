"""Code that all trainings share: run folders, checkpoints, the loop, the schedule of faces."""
