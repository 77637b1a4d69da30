"""Metrics, restorers, and the pretrained files that they need."""

from _generate.cells import code, table, text


def metrics() -> str:
    from rewardlab.metrics import METRICS, PAPER_METRICS

    rows = []
    for metric in METRICS.values():
        files = ", ".join(map(code, metric.assets))
        rows.append((
            code(metric.name), text(metric.title), "↑" if metric.higher_is_better else "↓",
            "yes" if metric.needs_reference else "", "yes" if metric.name in PAPER_METRICS else "",
            ", ".join(filter(None, (files, code(metric.requirement) if metric.requirement else ""))) or "nothing",
            text(metric.licence),
        ))  # fmt: skip
    heads = ("name", "title", "better", "compares with the photograph", "feature of the SVM", "needs", "licence")
    return table(heads, rows)


def restorers() -> str:
    from refl.restorers import RESTORERS

    rows = [(code(spec.name), text(spec.title), text(spec.licence)) for spec in RESTORERS.values()]
    return table(("name", "title", "licence"), rows)


def published_restorers() -> str:
    from refl.restorers import SYSTEMS

    rows = []
    for spec in SYSTEMS.values():
        options = [
            f"{code(f'{option.name}={option.default}')}: {text(option.help)} ({text(option.described())})"
            for option in spec.options
        ]
        rows.append((
            code(spec.name), text(spec.title), ", ".join(map(code, spec.assets)), "; ".join(options),
            text(spec.licence), text(spec.citation),
        ))  # fmt: skip
    return table(("name", "title", "files", "options and their defaults", "licence", "paper"), rows)


def pretrained_files() -> str:
    from rewardlab.assets import ASSETS

    rows = [(code(asset.name), code(asset.file), text(asset.source), text(asset.licence)) for asset in ASSETS.values()]
    return table(("name", "file or folder in `REWARDLAB_WEIGHTS`", "where it comes from", "licence"), rows)


def face_sets() -> str:
    from rewardlab.face_sets import FACE_SETS

    rows = [
        (
            code(known.name), text(known.title), f"{known.count:,}", " or ".join(map(str, known.sides)),
            "given lq" if not known.photographs else "photographs, given lq" if known.low_quality else "photographs",
            ", ".join(f"{split} {share:g}" for split, share in known.shares.items()),
            text(known.use), text(known.licence),
        )
        for known in FACE_SETS.values()
    ]  # fmt: skip
    return table(("name", "data set", "faces", "pixels", "pictures", "splits", "used for", "licence"), rows)
