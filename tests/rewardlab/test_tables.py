"""Tables in every format: escaping, and cells that are not changed."""

import pytest

from rewardlab import tables
from tests.support.tables import squeezed

HEADS = ["a & b", tables.Raw("$p$")]
ROWS = [["[50%]_x", -0.5], ["*", None], ["line\nfeed\x1b[31m", tables.Raw("**1**")]]


def test_latex_escapes_all_but_raw_cells():
    made = squeezed(tables.latex(HEADS, ROWS, caption=r"1_2 \input{x}", label="tab:a_b}"))
    assert made.splitlines() == [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        r"\caption{1\_2 \textbackslash{}input\{x\}}",
        r"\label{tab:a-b-}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"a \& b & $p$ \\",
        r"\midrule",
        r"{}[50\%]\_x & -0.5 \\",  # a bare [ or * would be an option of the previous line
        r"{}* & -- \\",
        r"line feed [31m & **1** \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


@pytest.mark.parametrize(
    ("words", "escaped"),
    [
        ("a--b", "a-{}-b"),
        ("---", "-{}-{}-"),
        ("-–", "-{}--"),  # a hyphen and an en dash must not merge into an em dash
        ("`x`", r"\textasciigrave{}x\textasciigrave{}"),
        ("it''s", "it'{}'s"),
        ("'\"", "'{}''"),
        ("a,,b", "a,{},b"),
        ("?“", "?{}``"),
        ("a-b, it's “c”", "a-b, it's ``c''"),
    ],
)
def test_latex_data_forms_no_ligature(words, escaped):
    assert tables.latex_escaped(words) == escaped


@pytest.mark.parametrize("head", ["[50%] of all", "*"])
def test_latex_head_is_not_an_option_of_the_rule(head):
    for raw in (head, tables.Raw(head)):
        lines = squeezed(tables.latex([raw, "b"], [["c", 1]])).splitlines()
        assert lines[lines.index(r"\toprule") + 1].startswith("{}" + head[0])


def test_csv_head_that_is_a_formula_gets_an_apostrophe():
    assert tables.to_csv(["=1+1", "b"], [["@c", -1]]) == "'=1+1,b\n'@c,-1\n"


def test_markdown_and_text_rows_stay_on_one_line():
    assert squeezed(tables.markdown(HEADS, ROWS)).splitlines()[2:] == [
        r"| \[50%\]\_x | -0.5 |",
        r"| \* | – |",
        r"| line feed \[31m | **1** |",
    ]
    assert squeezed(tables.text(HEADS, ROWS)).splitlines()[2:] == ["[50%]_x -0.5", "* –", "line feed [31m **1**"]


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "-1e"])
def test_csv_formula_gets_an_apostrophe(cell):
    assert tables.spreadsheet_safe(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", [-0.5, None, True, "-0.5", "+.5e-3", "a=b", "", "'=1"])
def test_csv_number_or_harmless_text_is_unchanged(cell):
    assert tables.spreadsheet_safe(cell) is cell


def test_decimals_have_a_minus_and_no_negative_zero():
    values = (-0.126, -1e-9, 1.0, None)
    assert [tables.decimals(value, 2, signed=True) for value in values] == ["−0.13", "+0.00", "+1.00", "–"]
