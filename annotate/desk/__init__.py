"""The judging desk: leases, queue, answers, onboarding, and the annotator's pages."""
