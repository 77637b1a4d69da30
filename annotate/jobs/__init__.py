"""Jobs: management commands that leads start from the browser, with forms made from the commands' own options."""
