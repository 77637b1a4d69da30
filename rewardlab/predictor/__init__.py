"""Predictors on image metrics (App. A.1) and their rivals."""
