"""Agreement reports of campaigns: between people and, on a gold set, with metrics, predictors and reward models."""
