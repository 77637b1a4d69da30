"""User studies (App. C) and their report."""
