"""The tab "Tokens": how sure each voice was of what it said, and how probable each token of the true answer is in each."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util.errors import UserError
from dashboard.charts import tokens as charts
from dashboard.charts.base import voice_line
from dashboard.charts.palette import Palette
from dashboard.compare import said_tokens, token_strip
from dashboard.text import md
from dashboard.widgets import current_run, page_style
from dashboard.widgets.question_and_answers import Exchange, label

Work = list[Callable[[], None]]


def show(run: Run, asked: Exchange, voices: Sequence[str], work: Work) -> None:
    """Show the tab; what has to be scored first becomes work."""
    said_tokens.show(run, asked, voices, work)
    st.markdown("**The true answer**")
    if not asked.truth:
        st.info("Write the true answer above, and this tab shows how probable each of its words is in each model.")
        return
    recorded(run, asked)
    wanted = list(dict.fromkeys(["before", "after", *voices]))
    missing = [voice for voice in wanted if voice not in asked.scores and asked.finished(voice)]
    if missing and not any(asked.error):
        spot = st.empty()
        spot.caption("Scoring the true answer …")
        work.append(lambda: score(run, asked, missing))
    scores = {voice: asked.scores[voice] for voice in wanted if asked.scores.get(voice)}
    same, others = comparable(scores)
    if others:
        st.info(
            f"{md(', '.join(label(voice) for voice in others))}: cut into other tokens than before's, so word by "
            "word they cannot be compared."
        )
    if {"before", "after"} <= set(same):
        explore(run, asked, same)


def comparable(
    scores: Mapping[str, Sequence[Mapping[str, Any]]],
) -> tuple[dict[str, Sequence[Mapping[str, Any]]], list[str]]:
    """Return the voices whose tokens are those of before, and the others: two models may cut a text in two ways."""
    texts = {voice: [str(token["text"]) for token in tokens] for voice, tokens in scores.items()}
    same = {voice: scores[voice] for voice in scores if texts[voice] == texts.get("before", texts[voice])}
    return same, [voice for voice in scores if voice not in same]


def recorded(run: Run, asked: Exchange) -> None:
    """Fill in what was scored when the run was evaluated."""
    table = current_run.table(run, "tokens") if asked.example else None
    if table is None or "before" in asked.scores:
        return
    rows = table[table["example"] == asked.example].sort_values("position").to_dict("records")
    for voice in SPOKEN:
        if rows and f"top_logprob_{voice}" in rows[0]:
            asked.scores[voice] = [
                {
                    "text": str(row["text"]),
                    "logprob": float(row[f"logprob_{voice}"]),
                    "rank": int(row[f"rank_{voice}"]),
                    "top": list(zip(map(str, row[f"top_{voice}"]), map(float, row[f"top_logprob_{voice}"]), strict=True)),
                }
                for row in rows
            ]


def score(run: Run, asked: Exchange, voices: Sequence[str]) -> None:
    """Let the model score the true answer, then show the page again."""
    try:
        for voice, tokens, _ in said_tokens.scored(run, asked.question, asked.truth, voices):
            asked.scores[voice] = tokens
    except UserError as error:
        page_style.complain(error)
        return
    st.rerun()


def explore(run: Run, asked: Exchange, scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Show the coloured tokens, the chosen one's alternatives, and the charts."""
    palette, names = page_style.palette(), {voice: label(voice) for voice in scores}
    by = st.segmented_control(
        "Colour by",
        list(charts.COLOURS),
        format_func=charts.COLOURS.get,
        default="change",
        key="colour",
        required=True,
        bind="query-params",
    )
    count, start = len(scores["before"]), worst(scores)
    if st.session_state.setdefault("token_of", asked.question) != asked.question:
        st.session_state.update(token_of=asked.question, token=None)
    change = "Orange where unlearning made a word less probable, blue where more probable."
    st.caption(change if by == "change" else said_tokens.legend(palette))
    strip = st.container()
    detail, sums = st.columns([1.5, 1], gap="large")
    with detail:
        # Empty until one is chosen: then the token that lost most is shown, whatever the question.
        number = st.number_input(
            f"Token, 1 to {count}", 1, count, None, key="token", bind="query-params", width=180, placeholder=str(start + 1)
        )
        chosen = min(max(int(number or start + 1), 1), count) - 1
        st.markdown(f"True word here: **{md(charts.visible(str(scores['before'][chosen]['text'])))}**")
        st.html(alternatives(scores, names, chosen, palette))
    with strip:
        token_strip.show(charts.strip(scores, by, palette), chosen, "Tokens of the true answer", "strip", pick)
    with sums:
        st.markdown(
            "**The whole true answer**",
            help="The sum of the log-probabilities of its tokens. 0 is certain; each step "
            "of −2.3 is ten times less probable.",
        )
        fig = charts.totals(scores, names, palette)
        words = ", ".join(f"{names[v]} {sum(t['logprob'] for t in tokens):.1f}" for v, tokens in scores.items())
        page_style.chart(
            fig, f"Log-probability of the whole true answer in nats: {words}", "totals", facts=facts(run, asked, "sum")
        )
    st.markdown("**Along the answer**")
    page_style.chart(
        charts.along(scores, names, chosen, palette),
        "Log-probability of each token of the true answer, in each model",
        "along",
        facts=facts(run, asked, "one value a token"),
    )


def facts(run: Run, asked: Exchange, how: str) -> list[tuple[str, str]]:
    """Return where the log-probabilities are from: the run's file for its own questions, else the model just now."""
    file = (
        "tokens.parquet; voices that are not in it were scored now"
        if asked.example
        else "none: scored now by the model itself"
    )
    formula = f"log p(token | question, true answer up to it), teacher-forced, in nats; {how}"
    return page_style.where(run, "evaluate", file, formula, f"this question, {len(asked.scores.get('before', ()))} tokens")


def worst(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Return the word that lost most probability: the first to look at. A full stop tells nothing."""
    losses = [
        math.exp(b["logprob"]) - math.exp(a["logprob"]) for b, a in zip(scores["before"], scores["after"], strict=True)
    ]
    telling = [index for index, token in enumerate(scores["before"]) if any(map(str.isalnum, str(token["text"])))]
    return max(telling or range(len(losses)), key=losses.__getitem__)


def pick(index: int) -> None:
    """Make a token the chosen one."""
    st.session_state["token"] = index + 1


def alternatives(
    scores: Mapping[str, Sequence[Mapping[str, Any]]], names: Mapping[str, str], chosen: int, palette: Palette
) -> str:
    """Return, as escaped HTML, each model's most probable words at a place of the answer, and the rank of the true one."""
    blocks = []
    for voice, tokens in scores.items():
        token, rank = tokens[chosen], int(tokens[chosen]["rank"])
        standing = "the most probable word" if rank == 1 else f"rank {rank:,}"
        true = f"true word: {charts.percent(math.exp(token['logprob']))}, {standing}"
        color = voice_line(voice, palette)["color"]
        blocks.append(
            f'<div style="flex:1 1 11rem;min-width:0"><div style="font-weight:600;color:{color};overflow-wrap:anywhere">'
            f"{html.escape(names[voice])}</div>{said_tokens.words(true, color, token, palette)}</div>"
        )
    return f'<div style="display:flex;flex-wrap:wrap;gap:1.25rem">{"".join(blocks)}</div>'
