"""What the viewer of the desk offers. How often each was used is stored with the judgement."""

TOOLS = ("zoom", "pan", "pixels", "swap", "slider", "input", "reference", "brightness", "jump", "guideline")
MOST = 10_000  # uses of one tool that are believed


def faults_of(used: object) -> str:
    """What is wrong with a client's count of tools, in words; empty if nothing is."""
    if not isinstance(used, dict):
        return "Send an object: name of a tool -> how often it was used."
    unknown = sorted(set(map(str, used)) - set(TOOLS))
    if unknown:
        return f"There is no tool {unknown[0][:40]!r}. The tools are {', '.join(TOOLS)}."
    if not all(type(count) is int and 0 <= count <= MOST for count in used.values()):
        return f"A tool is used a whole number of times, 0 to {MOST}."
    return ""
