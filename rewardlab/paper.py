"""The paper's figures, shown for comparison. They were measured on other images with other annotators."""

# Agreement with people on contested pairs: method -> share and source.
AGREEMENT = {
    "frm": (0.8778, "Table 11"),
    "start": (0.6305, "App. G.2, HPSv2"),
    "null-text": (0.8501, "Table 11"),
    "human-0": (0.6978, "Table 12; App. G.2 says 63.05%"),
    "human-50": (0.8321, "Table 12"),
    "human-100": (0.8778, "Table 12"),
    "svm": (0.700, "Table 9"),
    "mlp3": (0.692, "Table 9"),
    "mlp4": (0.688, "Table 9"),
}
AGREEMENT_NOTE = "the paper's own figure for 0% equals that row's MUSIQ and is not a multiple of 1/360"
# Table 10: agreement of the reward model by step, while it is updated during tuning.
AGREEMENT_WHILE_TUNING = [
    (0, 0.8778), (500, 0.8611), (1000, 0.8583), (1500, 0.85), (2000, 0.8389), (2500, 0.8301), (3000, 0.8306),
]  # fmt: skip
# Table 6: share of participants who preferred the tuned restorer, by question.
STUDY = {
    "OSEDiff (+ours) vs OSEDiff": {"fidelity": 0.78, "realism": 0.88},
    "DiffBIR (+ours) vs DiffBIR": {"fidelity": 0.68, "realism": 0.75},
}
