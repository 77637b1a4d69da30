"""Shared by all pages: middleware, error responses, health, Markdown."""
