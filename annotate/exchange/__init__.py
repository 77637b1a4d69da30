"""Files in and out: snapshots, exports, imports of judgements."""
