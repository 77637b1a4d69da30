"""Accounts: sign-in with a limit on wrong passwords, and roles."""
