"""Predictors of preferences from image metrics: the SVM of App. A.1 and its alternatives."""
