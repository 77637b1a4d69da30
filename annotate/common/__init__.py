"""Shared by all packages: refusals, the audit log, pseudonyms, stored images, batches, sides."""
