"""The lead's side of a campaign: its items, settings, invitations, oversight and adjudication."""
