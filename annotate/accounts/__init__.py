"""Accounts: sign-in with a limit on wrong passwords, and the permissions of each role."""
