"""Reads. No function here changes a row."""
