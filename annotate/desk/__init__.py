"""Judging: leases, the queue, answers, onboarding, and the annotator's pages."""
