"""Format numbers the same in every language, since scripts read them from plots, tables and attributes."""

DECIMAL_SEPARATOR = "."
THOUSAND_SEPARATOR = ","
