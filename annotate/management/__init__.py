"""Commands, and the options and progress that they share."""
