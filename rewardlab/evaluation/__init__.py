"""How a reward model is judged: baselines, gold agreement, the tables of the paper."""
