"""Agreement on a gold set: between people, and with metrics, predictors and reward models."""
