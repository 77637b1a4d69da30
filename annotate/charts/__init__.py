"""Numbers to SVG: axes, lines, intervals, heat maps."""
