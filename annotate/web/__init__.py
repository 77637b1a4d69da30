"""Pages. Thin: forms check, services write, selectors read, templates show."""
