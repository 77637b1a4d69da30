"""Snapshots, exports of preferences, and imports of judgements."""
