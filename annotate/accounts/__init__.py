"""Accounts: sign-in with its limit on wrong passwords, and what each role may do."""
