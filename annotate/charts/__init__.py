"""Charts as inline SVG and tables: axes, lines, intervals, heat maps."""
