"""Numbers are written the same in every language: they stand in plots, tables and attributes that programs read."""

DECIMAL_SEPARATOR = "."
THOUSAND_SEPARATOR = ","
