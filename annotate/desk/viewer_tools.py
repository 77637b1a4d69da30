"""Tools of the desk's image viewer. Each judgement stores how often each tool was used."""

TOOLS = ("zoom", "pan", "pixels", "swap", "slider", "input", "reference", "brightness", "jump", "flip", "guideline")
MAX_USES = 10_000  # of one tool; a higher count is rejected


def count_error(counts: object) -> str:
    """Return what is wrong with a client's tool counts; empty if they are valid."""
    if not isinstance(counts, dict):
        return "Send an object that maps tool names to counts."
    unknown = sorted(set(map(str, counts)) - set(TOOLS))
    if unknown:
        return f"Unknown tool {unknown[0][:40]!r}. The tools are {', '.join(TOOLS)}."
    if not all(type(count) is int and 0 <= count <= MAX_USES for count in counts.values()):
        return f"Each tool count must be a whole number, 0 to {MAX_USES}."
    return ""
