"""Evaluation of reward models: baselines, agreement on the gold set, the paper's tables."""
