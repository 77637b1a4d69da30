"""Pages of run folders: reward models, base restorers, tunings, evaluations. Runs are not stored in the database."""
