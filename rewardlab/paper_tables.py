"""The paper's tables as data: every printed figure with its row and column.

Figures keep the digits that are printed. An arrow says which direction is better. `-` marks an empty cell.
"""

from dataclasses import dataclass

UP, DOWN = "↑", "↓"


@dataclass(frozen=True)
class Column:
    """A column of figures. is_share: printed in per cent."""

    title: str
    is_higher_better: bool | None
    is_share: bool = False

    @property
    def heading(self) -> str:
        return (
            f"{self.title} {UP if self.is_higher_better else DOWN}" if self.is_higher_better is not None else self.title
        )


@dataclass(frozen=True)
class Row:
    """A row: its name, what it marks (Tables 4 and 8: components), and a figure for each column, "" if empty."""

    title: str
    marks: tuple[str, ...]
    printed: tuple[str, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper. marks: heads of the columns that describe rows. note: an error of the paper, if any."""

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    marks: tuple[str, ...] = ()
    note: str = ""

    def printed(self, row: str, column: str) -> str:
        """Return the printed figure; empty if there is none."""
        place = [found.title for found in self.columns].index(column)
        return next((found.printed[place] for found in self.rows if found.title == row), "")


def number(printed: str) -> float | None:
    """Return the value of a printed figure, a share for per cent; None for an empty cell."""
    if not printed:
        return None
    return round(float(printed[:-1]) / 100, 6) if printed.endswith("%") else float(printed)


def digits(printed: str) -> int:
    """Count the decimals of a printed figure."""
    return len(printed.rstrip("%").partition(".")[2])


def _table(place: int, title: str, heads: str, body: str, *, marks: tuple[str, ...] = (), note: str = "") -> PaperTable:
    columns = tuple(map(_column, _cells(heads)))
    rows = []
    for line in body.strip().splitlines():
        name, *cells = _cells(line)
        values = tuple("" if cell == "-" else cell for cell in cells)
        if len(values) != len(marks) + len(columns):
            raise ValueError(f"Table {place}, row {name}: {len(values)} cells, not {len(marks) + len(columns)}")
        rows.append(Row(name, values[: len(marks)], values[len(marks) :]))
    return PaperTable(place, title, columns, tuple(rows), marks, note)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def _column(head: str) -> Column:
    title, _, arrow = head.rpartition(" ") if head.endswith((UP, DOWN)) else (head, "", "")
    is_share = title.endswith("%")
    return Column(title.removesuffix("%").strip(), {UP: True, DOWN: False}.get(arrow), is_share)


COMPONENTS = ("SC", "WR", "Rwd", "RU")
ALL = (
    "SSIM ↑ | PSNR ↑ | LPIPS ↓ | CLIP Score ↑ | Deg. ↓ | LMD ↓ | MUSIQ ↑ | MANIQA ↑ | FID ↓ | Aesthetic ↑ | "
    "FaceReward ↑"
)
USER_STUDY = """
OSEDiff (+ours) vs OSEDiff | 78% | 88%
DiffBIR (+ours) vs DiffBIR | 68% | 75%
"""

TABLES = {
    table.number: table
    for table in (
        _table(1, "Restorers on CelebA-Test", ALL, """
Input           | 0.6994 | 25.33 | 0.4866 | 0.7894 | 47.94 | 3.756  | 17.00 | 0.3957 | 143.95 | 4.0484 | 0.3397
GFPGAN          | 0.6772 | 24.65 | 0.3646 | 0.8410 | 34.58 | 2.4110 | 73.90 | 0.6522 | 42.57  | 5.6992 | 0.0741
CodeFormer      | 0.6925 | 25.85 | 0.3335 | 0.8931 | 31.08 | 1.9963 | 74.23 | 0.6520 | 45.57  | 5.8103 | 0.2864
VQFR            | 0.6654 | 23.76 | 0.3557 | 0.8562 | 42.48 | 2.9444 | 73.84 | 0.6544 | 46.77  | 5.7844 | 0.3142
DR2+SPAR        | 0.6512 | 22.89 | 0.4146 | 0.7437 | 57.24 | 4.5449 | 70.19 | 0.6374 | 62.54  | 5.6602 | 0.2455
RestoreFormer   | 0.6527 | 24.63 | 0.3652 | 0.8876 | 32.14 | 2.3020 | 73.75 | 0.6477 | 41.68  | 5.8015 | 0.2423
DifFace         | 0.6762 | 24.80 | 0.3994 | 0.8380 | 45.81 | 2.9766 | 68.96 | 0.6204 | 37.88  | 5.4708 | 0.3372
OSEDiff         | 0.6864 | 23.96 | 0.3478 | 0.7962 | 46.20 | 2.8871 | 73.41 | 0.6560 | 65.13  | 5.7720 | 0.2608
OSEDiff (+ours) | 0.6838 | 24.93 | 0.3451 | 0.8732 | 38.41 | 2.4060 | 75.24 | 0.6640 | 44.40  | 5.9529 | 0.4389
DiffBIR         | 0.6775 | 25.44 | 0.3811 | 0.8877 | 35.16 | 2.2661 | 74.46 | 0.6752 | 45.50  | 5.7943 | 0.1938
DiffBIR (+ours) | 0.7043 | 26.33 | 0.3454 | 0.9001 | 30.61 | 1.8642 | 74.82 | 0.6630 | 42.59  | 5.8475 | 0.4275
"""),
        _table(2, "Restorers on faces without ground truth",
               "LFW-Test: Aesthetic ↑ | LFW-Test: MUSIQ ↑ | WebPhoto-Test: Aesthetic ↑ | WebPhoto-Test: MUSIQ ↑", """
Input           | 4.9978 | 26.87 | 4.2584 | 18.63
GFPGAN          | 5.6042 | 73.57 | 5.2473 | 72.09
CodeFormer      | 5.6414 | 70.69 | 5.1860 | 71.16
VQFR            | 5.6802 | 74.39 | 5.2829 | 70.91
DR2+SPAR        | 5.5409 | 72.22 | 5.1785 | 63.65
RestoreFormer   | 5.6068 | 73.70 | 5.1213 | 69.84
DifFace         | 5.4104 | 69.85 | 5.0721 | 65.21
OSEDiff         | 5.6796 | 73.40 | 5.4161 | 72.60
OSEDiff (+ours) | 5.7183 | 74.81 | 5.5412 | 74.05
DiffBIR         | 5.6814 | 73.71 | 5.2728 | 67.45
DiffBIR (+ours) | 5.6860 | 74.49 | 5.3554 | 71.38
"""),
        _table(3, "The FRM and HPSv2 as reward", "MANIQA ↑ | MUSIQ ↑ | FID ↓", """
HPSv2      | 0.6630 | 69.78 | 48.94
FRM (ours) | 0.6535 | 74.82 | 42.59
""", note="The paper prints an arrow down for MANIQA, of which higher is better; Table 1 gives 0.6630 for DiffBIR "
               "(+ours), here 0.6535."),
        _table(4, "Components of ReFL, DiffBIR", "LMD ↓ | MUSIQ ↑ | Aesthetic ↑", """
Base      | - | - | - | - | 2.2661 | 74.46 | 5.7943
Variant 1 | ✓ | ✓ | - | - | 1.9583 | 54.70 | 5.6572
Variant 2 | ✓ | ✓ | ✓ | - | 1.8834 | 71.12 | 5.6063
Variant 3 | ✓ | - | ✓ | ✓ | 1.8644 | 70.67 | 5.7528
Ours      | ✓ | ✓ | ✓ | ✓ | 1.8642 | 74.82 | 5.8475
""", marks=COMPONENTS),
        _table(5, "Number of denoising steps with gradient", ALL, """
N = 1  | 0.7043 | 26.33 | 0.3454 | 0.9001 | 30.61 | 1.8642 | 74.82 | 0.6630 | 42.59 | 5.8475 | 0.4275
N = 5  | 0.7101 | 26.42 | 0.3221 | 0.9103 | 30.10 | 1.8013 | 73.68 | 0.6652 | 47.27 | 6.0627 | 0.3876
N = 20 | 0.7151 | 26.37 | 0.3382 | 0.9073 | 30.11 | 1.8031 | 73.60 | 0.6630 | 46.32 | 6.0751 | 0.3923
"""),
        _table(6, "User study: who prefers the tuned restorer", "Fidelity % | Realism %", USER_STUDY),
        _table(7, "User study: who prefers the tuned restorer", "Fidelity % | Realism %", USER_STUDY),
        _table(8, "Components of ReFL, OSEDiff", "LMD ↓ | MUSIQ ↑ | Aesthetic ↑", """
Base      | - | - | - | - | 2.8871 | 73.41 | 5.7720
Variant 1 | ✓ | ✓ | - | - | 2.3406 | 69.85 | 5.7813
Variant 2 | ✓ | ✓ | ✓ | - | 2.3997 | 69.97 | 5.8912
Variant 3 | ✓ | - | ✓ | ✓ | 2.3962 | 70.83 | 5.7860
Ours      | ✓ | ✓ | ✓ | ✓ | 2.4060 | 75.24 | 5.9529
""", marks=COMPONENTS),
        _table(9, "Predictors of preferences", "Prediction accuracy % ↑", """
MLP (3-layer) | 69.2%
MLP (4-layer) | 68.8%
SVM           | 70.0%
"""),
        _table(10, "Agreement of the FRM with people while it is updated", "Human consistency % ↑", """
Iteration 0    | 87.78%
Iteration 500  | 86.11%
Iteration 1000 | 85.83%
Iteration 1500 | 85.00%
Iteration 2000 | 83.89%
Iteration 2500 | 83.01%
Iteration 3000 | 83.06%
"""),
        _table(11, "The text input of the FRM", "Human consistency % ↑", """
Image & Text      | 87.78%
Image & Null Text | 85.01%
"""),
        _table(12, "Share of human labels", "Human consistency % ↑ | MANIQA ↑ | MUSIQ ↑ | FID ↓", """
0%   | 69.78% | 0.6630 | 69.78 | 48.94
50%  | 83.21% | 0.6689 | 73.32 | 45.90
100% | 87.78% | 0.6535 | 74.82 | 42.59
""", note="The consistency printed for 0% equals that row's MUSIQ and is not a multiple of 1/360; Sec. 4.3 says "
               "63.05%."),
        _table(13, "Weight of the regularisation", "LMD ↓ | MUSIQ ↑ | Aesthetic ↑", """
Variant 1, lambda_reg x 10  | 2.0252 | 57.57 | 5.7358
Variant 1, lambda_reg x 1   | 1.9583 | 54.70 | 5.6572
Variant 1, lambda_reg x 0.1 | 1.9087 | 55.05 | 5.7729
Ours, lambda_reg x 10       | 1.9467 | 69.50 | 5.8117
Ours, lambda_reg x 1        | 1.8642 | 74.82 | 5.8475
Ours, lambda_reg x 0.1      | 1.8182 | 73.22 | 5.8231
""", note="The paper gives the weights themselves, 1e-3, 1e-4 and 1e-5: 10, 1 and 0.1 times its default."),
        _table(14, "Cost and quality",
               "GPU hours | Seconds an image ↓ | Deg. ↓ | LMD ↓ | MUSIQ ↑ | FID ↓", """
OSEDiff         | 202 | 0.13 | 46.20 | 2.8871 | 73.41 | 65.13
OSEDiff (+ours) | 24  | 0.13 | 38.41 | 2.4060 | 75.24 | 44.40
DiffBIR         | 216 | 2.84 | 35.16 | 2.2661 | 74.46 | 45.50
DiffBIR (+ours) | 46  | 2.84 | 30.61 | 1.8642 | 74.82 | 42.59
"""),
        _table(15, "Other architectures", "LMD ↓ | FID ↓ | MUSIQ ↑", """
GFPGAN             | 2.4110 | 42.57 | 73.90
GFPGAN (+ours)     | 2.4007 | 41.78 | 73.27
CodeFormer         | 1.9963 | 45.57 | 74.23
CodeFormer (+ours) | 1.9943 | 38.77 | 70.12
DR2                | 4.5449 | 62.54 | 70.19
DR2 (+ours)        | 3.2145 | 51.34 | 72.60
"""),
    )
}  # fmt: skip
