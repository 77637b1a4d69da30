"""What every page shares: middleware, errors, health, Markdown."""
