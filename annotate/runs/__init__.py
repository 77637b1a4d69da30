"""Pages of run folders: reward models, bases, tunings, evaluations. No table knows of a run."""
