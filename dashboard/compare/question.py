"""What is asked, whom, and how: the prompt, suggested questions, voices and decoding. All of it is in the address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.runs import askable
from core.runs.store import Run
from core.runs.voices import VOICE, parse
from core.util.errors import UserError
from dashboard.text import shorten
from dashboard.widgets import current_run, glossary
from dashboard.widgets.question_and_answers import LONGEST_QUESTION, Decoding, decoding_within, label
from dashboard.widgets.scope_names import ALSO_ASKED, KINDS, SCOPES, kind, kinds_of, scope_name

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

ALWAYS = ("before", "after")
BLENDS = (25, 50, 75, 125, 150)
OFFERED_RUNS = 20

Rows = Sequence[Mapping[str, Any]]


def question(rows: Rows) -> str:
    """Show the prompt and the suggestions; return the current question, empty where there is none."""
    # Inside a container it stays here; alone it would be pinned to the bottom of the window.
    typed = st.container().chat_input("Ask both models anything …", key="prompt", max_chars=LONGEST_QUESTION)
    if typed and typed.strip():
        choose(typed.strip()[:LONGEST_QUESTION])
    return suggested(rows) if rows else current()


def current() -> str:
    """Return the question that the address or the visitor named."""
    return str(st.query_params.get("q") or st.session_state.get("question") or "")[:LONGEST_QUESTION]


def choose(text: str) -> None:
    """Make a question the current one, in the address too; an empty one returns to the suggestions."""
    st.session_state["question"] = text
    if text:
        st.query_params["q"] = text
    else:
        st.query_params.pop("q", None)


FOLLOW: dict[str, Any] = {"on_change": choose, "args": ("",), "bind": "query-params"}
"""of what chooses among the suggestions: a question of the visitor's own gives way"""


def suggested(rows: Rows) -> str:
    """Offer the run's questions by scope, kind and words; return the current question."""
    # One row: the answers are what the page is about, and they stand below.
    row = st.container(horizontal=True, vertical_alignment="center", gap="small")
    scopes = [*SCOPES, *(name for name in ALSO_ASKED if any(r.get("scope") == name for r in rows))]
    scope = _one_of(row, "Scope", "scope", scopes, scope_name)
    # What was recorded comes first: it is shown at once.
    mine = sorted((r for r in rows if r.get("scope") == scope), key=lambda r: "after" not in r)
    if not mine:
        return current()
    present = kinds_of(map(kind, mine))
    # Questions of our own are of one kind.
    chosen = _one_of(row, "Questions", "kind", present, lambda name: KINDS[name]) if present else ""
    picking = row.container(width=430)
    words = _searched(row)
    questions = list(dict.fromkeys(str(r.get("question", "")) for r in mine if kind(r) == chosen and _says(r, words)))
    if not questions:
        st.info("No recorded question fits. Try another word, or ask it yourself above.")
        return current()
    _pick(picking, questions)
    return current() or questions[0]


def _one_of(row: DeltaGenerator, title: str, key: str, options: Sequence[str], named: Callable[[str], str]) -> str:
    """Let one of a few be chosen in the row, the first one at the beginning."""
    return row.segmented_control(
        title,
        options,
        format_func=named,
        default=options[0],
        key=key,
        required=True,
        label_visibility="collapsed",
        width="content",
        **FOLLOW,
    )


def _searched(row: DeltaGenerator) -> str:
    """Offer a search behind a button of the row; return the words looked for."""
    at_work = st.session_state.get("search", st.query_params.get("search"))
    with row.popover("Search ●" if at_work else "Search", key="searching", icon=":material/search:"):
        return st.text_input(
            "Search questions, answers and subjects", key="search", placeholder="a name, a street, a word", **FOLLOW
        )


def _says(row: Mapping[str, Any], words: str) -> bool:
    """Say whether a question, its answer or its subject has some words in it."""
    return words.lower() in f"{row.get('question', '')} {row.get('truth', '')} {row.get('subject', '')}".lower()


def _pick(place: DeltaGenerator, questions: Sequence[str]) -> None:
    """Let one of the questions be chosen, the first one at the beginning."""
    asked = current()
    # Before the box is drawn, so that it follows whoever chose the question; it is empty beside one of the visitor's own.
    st.session_state["example"] = asked if asked in questions else questions[0] if not asked else None
    place.selectbox(
        f"{len(questions)} questions of the data",
        questions,
        index=None,
        format_func=lambda text: shorten(text, 110),
        key="example",
        placeholder=f"or pick one of {len(questions)}",
        label_visibility="collapsed",
        on_change=lambda: choose(st.session_state["example"] or ""),
    )


def voices(run: Run) -> list[str]:
    """Let voices be added to before and after; return those to show."""
    never = st.toggle(
        "Never taught",
        key="never",
        bind="query-params",
        help="A third pane: the original model (adapter off). It tells whether after has forgotten or is broken.  \n"
        + glossary.help_text("never taught"),
    )
    without = not askable.no_retrained(run) and st.toggle(
        "Taught without U",
        key="retrained",
        bind="query-params",
        help="A pane of the model that was taught everything but what is to be forgotten: what forgetting should look "
        "like.  \n" + glossary.help_text("retrained"),
    )
    options = others(run)
    other = st.selectbox(
        "Another voice",
        options,
        index=None,
        key="voice",
        bind="query-params",
        accept_new_options=True,
        width=260,
        format_func=lambda text: shorten(label(text), 60),
        placeholder="Another voice …",
        label_visibility="collapsed",
        help="A checkpoint of unlearning, a blend of before and after, or another run on the same model. You can also "
        "type one: "
        "step:12, blend:80, without:layer=3, run:ID/after.",
    )
    standard = [*ALWAYS, *(["never"] if never else []), *([VOICE] if without else [])]
    return list(dict.fromkeys([*standard, *([canonical(str(other).strip())] if other and str(other).strip() else [])]))


def speak_as(wanted: Sequence[str]) -> None:
    """Make voices the shown ones: in callbacks, before their controls are drawn."""
    other = next((voice for voice in wanted if voice not in (*ALWAYS, "never", VOICE)), None)
    st.session_state.update({"never": "never" in wanted, "retrained": VOICE in wanted, "voice": other})


def canonical(text: str) -> str:
    """Return a voice in its one spelling; what is none stays as it is, and its pane will say so."""
    try:
        return str(parse(text))
    except UserError:
        return text


def others(run: Run) -> list[str]:
    """Return voices beyond those with a switch: checkpoints, blends, and runs on the same base."""
    return [
        *(f"step:{step}" for step in askable.checkpoints(run)),
        *(f"blend:{percent}" for percent in BLENDS),
        *(f"run:{name}/after" for name in beside(run)),
    ]


def beside(run: Run) -> list[str]:
    """Return the ids of other runs whose adapters fit this run's base."""
    ids: list[str] = []
    for name, other in current_run.known_runs().items():
        if name != run.id and len(ids) < OFFERED_RUNS:
            try:
                askable.unlearned(other)
                if not askable.misfit(run, other):
                    ids.append(name)
            except UserError:
                continue  # a run without adapters cannot be asked, so it is not offered
    return ids


def decoding(run: Run, own: Decoding) -> Decoding:
    """Show the decoding settings behind one button; the run's own ones are the default."""
    _follow_run(run, own)
    base, bound = own.answers, {"bind": "query-params"}
    differs = any(st.session_state.get(key, value) != value for key, value in _settings(own).items())
    with st.popover("Decoding ●" if differs else "Decoding", icon=":material/tune:", help="How the next word is chosen"):
        st.caption("The same for all panes. Recorded answers were made with the run's own settings, shown at first.")
        temperature = st.number_input(
            "Temperature",
            0.0,
            5.0,
            float(base.temperature),
            0.1,
            key="temperature",
            **bound,
            help="0: always the most probable word. Higher: more variety.",
        )
        top_p = st.number_input(
            "Top-p",
            0.01,
            1.0,
            float(base.top_p),
            0.05,
            key="top_p",
            **bound,
            help="Choose only among the most probable words that together have this probability.",
        )
        seed = st.number_input(
            "Seed",
            0,
            2**31 - 1,
            own.seed,
            key="seed",
            **bound,
            help="The same seed gives the same random numbers in all panes.",
        )
        tokens = st.number_input("Longest answer, tokens", 1, 2048, base.max_new_tokens, key="tokens", **bound)
    # The ranges above hold in the browser only.
    said = {"temperature": temperature, "top_p": top_p, "seed": seed, "max_new_tokens": tokens}
    return decoding_within(said, own)


def decode_as(asked: Decoding) -> None:
    """Make a way of decoding the current one: in callbacks, before its controls are drawn."""
    st.session_state.update({key: value for key, value in _settings(asked).items() if st.session_state.get(key) != value})


def _settings(of: Decoding) -> dict[str, Any]:
    a = of.answers
    return {"temperature": float(a.temperature), "top_p": float(a.top_p), "seed": of.seed, "tokens": a.max_new_tokens}


def _follow_run(run: Run, own: Decoding) -> None:
    """After a change of run its settings hold; at first those of the address do."""
    if st.session_state.setdefault("decoding_of", run.id) != run.id:
        st.session_state["decoding_of"] = run.id
        decode_as(own)


def marks(options: Sequence[str], names: dict[str, str]) -> str:
    """Let the marking of words be chosen."""
    return str(
        st.segmented_control(
            "Mark words",
            options,
            format_func=names.get,
            default=options[0],
            key="marks",
            required=True,
            bind="query-params",
            help="Which words of each answer are marked against the opposite one.",
        )
    )
