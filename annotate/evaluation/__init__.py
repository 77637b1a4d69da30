"""Comparison of restorers by metrics, with paired differences (`manage.py evaluate`)."""
