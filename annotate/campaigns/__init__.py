"""Campaigns for the lead: items, settings, invitations, oversight and adjudication."""
