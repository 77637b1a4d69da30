"""A mostly read-only admin, by subject: labels and images cannot be edited, and actions call the same functions as the
pages. `annotate/web/admin_site.py` groups the models on its first page."""

from annotate.admin import accounts, judging, labels, pictures, runs

__all__ = ["accounts", "judging", "labels", "pictures", "runs"]
