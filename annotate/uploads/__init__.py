"""Photographs from the browser: received into quarantine, checked in the background, then ingested by a job."""
