"""`manage.py evaluate`: restorers by metrics, with paired differences."""
