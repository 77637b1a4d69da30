"""What every room may use: refusals, the audit log, pseudonyms, stored images, batches, sides."""
