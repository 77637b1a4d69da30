"""The model card of a tuned restorer."""

import json

from rewardlab import tables
from rewardlab.training.run_schema import HeldOutPoint
from rewardlab.training.runs import Run


def write(run: Run, note: str = "") -> str:
    """Markdown: what it is, from what and on what it was made, and its figures on the held-out faces."""
    description = run.description()
    config, begin = description.config, description.start
    counts = description.manifest.counts
    simulated = any(name.endswith("/simulated") and pairs for name, pairs in counts.items())
    looks = run.points_of(HeldOutPoint)
    lines = [
        "---",
        "library_name: diffusers",
        "tags: [face-restoration, reward-feedback-learning]",
        "---",
        f"# {run.name}",
        "",
        f"A face restorer: {config['base']}, tuned by reward feedback learning.",
        ""
        if not simulated
        else "The reward model learned from SIMULATED annotators: this says nothing of people's taste.",
        note,
        "",
        f"- start: {', '.join(f'{name} {value}' for name, value in begin.items() if value)}",
        f"- faces: {description.faces.counts}, sha256 {description.faces.sha256}",
        f"- preferences: sha256 {description.manifest.sha256 or 'unknown'}",
        f"- code: {description.code}",
        "",
        "## Figures on the held-out faces",
        "",
    ]
    if looks:
        names = sorted({name for look in looks for name in look.held_out})
        rows: list[list[tables.Cell]] = [
            [look.step, *(tables.decimals(look.held_out.get(name), 4) for name in names)] for look in looks
        ]
        lines.append(tables.markdown(["step", *names], rows, "r" * (len(names) + 1)))
    lines += ["", "## Configuration", "", "```json", json.dumps(config, indent=1), "```", ""]
    return "\n".join(lines)
