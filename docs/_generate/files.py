"""Columns of the manifest and of faces.jsonl, and the formats of exports. Each column needs a description here."""

from dataclasses import fields

from _generate.cells import code, require_described, table

PREFERENCE_COLUMNS = {
    "pair": "Number of the pair in the database.",
    "face": "Number of the face.",
    "identity": "Salted hash of the person's name.",
    "split": "`train`, `gold` or `test`.",
    "caption": "Text description of the face.",
    "first": "First image, relative to the image folder. The file name is the sha256 of the content.",
    "first_source": "`hq` for the photograph, else the restorer's name.",
    "second": "Second image.",
    "second_source": "As `first_source`.",
    "p_first": "Probability that the first image is preferred, 0 to 1. A split vote gives a soft label.",
    "origin": "`ground_truth`, `human`, `simulated` or `svm`.",
    "weight": "Weight of the label.",
    "votes": "Votes for the first image, for the second, and can't tell.",
    "scores": "The values of each metric for both images.",
    "predictor": "Version of the SVM. Only in rows of origin `svm`.",
    "dataset": "Name of the face's data set. Absent in manifests of versions before 0.3.",
    "rules": "How many of the votes each rule of the rubric decided: `realism`, `detail`, `text`. Absent if none did.",
}

FACE_COLUMNS = {
    "face": "Number of the face.",
    "identity": "Salted hash of the person's name.",
    "split": "`train`, `gold` or `test`.",
    "caption": "Text description of the face.",
    "size": "Side of the square image in pixels.",
    "hq": "Photograph, relative to the image folder.",
    "lq": "Degraded image. Empty if there is none.",
    "dataset": "Name of the face's data set. Absent in files of versions before 0.3.",
}


ANSWER_COLUMNS = {
    "answer_id": "Identifies the answer in all installations. With it, a file is recognised as such an export.",
    "annotator": "Pseudonym of the annotator.",
    "pair": "Number of the pair in the exporting installation; not used by imports.",
    "split": "`train`, `gold` or `test`.",
    "first": "First image, relative to the image folder. The file name is the sha256 of the content.",
    "second": "Second image.",
    "choice": "`first`, `second` or `cant_tell`.",
    "left": "Which image was shown on the left: `first` or `second`.",
    "criterion": "`realism`, `detail` or `text`; empty for can't tell.",
    "seconds": "Time from display to answer.",
    "at": "When this answer was given, in ISO 8601.",
    "simulated": "Whether a program gave the answer.",
    "question": "`preference`.",
    "revision": "How often the answer was changed before.",
    "cant_tell_kind": "both_good or both_bad, if the annotator said so of a can't tell.",
    "note": "What the annotator wrote with the answer.",
}


def answer_columns() -> str:
    from annotate.exchange import record_formats

    names = record_formats.ANSWER_COLUMNS
    require_described("answers", names, ANSWER_COLUMNS)
    return table(("column", "meaning"), [(code(name), ANSWER_COLUMNS[name]) for name in names])


def preference_columns() -> str:
    from rewardlab.manifest import PreferenceRow

    return columns(PreferenceRow, PREFERENCE_COLUMNS)


def face_columns() -> str:
    from refl.dataset import FaceRow

    return columns(FaceRow, FACE_COLUMNS)


def columns(row: type, meanings: dict[str, str]) -> str:
    names = [field.name for field in fields(row)]
    require_described(row.__name__, names, meanings)
    kinds = {field.name: getattr(field.type, "__name__", None) or str(field.type) for field in fields(row)}
    kinds = {
        name: kind if kind in ("int", "str", "float") else str(row.__annotations__[name])
        for name, kind in kinds.items()
    }
    return table(("name", "type", "meaning"), [(code(name), code(kinds[name]), meanings[name]) for name in names])


def export_formats() -> str:
    from annotate.exchange.export import FORMATS, MANIFEST

    rows = [(code(MANIFEST), code("manifest.jsonl"))]
    rows += [(code(name), ", ".join(map(code, files))) for name, (_, files) in FORMATS.items()]
    return table(("`--format`", "files in OUT"), rows)
