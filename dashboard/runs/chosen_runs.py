"""What can be done with the chosen runs: one is named and noted, several are compared, all start again, leave, or go."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.jobs import lifecycle
from core.runs import asked, labels, store
from core.runs.labels import Label
from core.runs.overview import Overview
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import VOICE_NAMES
from dashboard import pages
from dashboard.runs import archive, runs_table, trash
from dashboard.text import md
from dashboard.widgets import current_run, headline_scores, page_style, setting_differences
from dashboard.widgets.current_run import ALIVE

FORM = "label.form"
"""session state: run id, label and time of the form that is open"""
AGAIN = {"same": "With the same settings", "changed": "With changes …", "resume": "Resume this one"}


def show(chosen: Sequence[Overview], runs: Mapping[str, Run], tags: Sequence[str], name_of: Mapping[str, str]) -> None:
    """Show the chosen runs."""
    if len(chosen) == 1:
        single(chosen[0], runs[chosen[0].id], tags)
    else:
        several(chosen, runs, name_of)


def single(entry: Overview, run: Run, tags: Sequence[str]) -> None:
    """Show a single run: where to look at it, what to do with it, what somebody wrote about it."""
    st.subheader(md(entry.name))
    if entry.problem:
        st.error(f"**{md(entry.problem)}**", icon=":material/error:")
    else:
        st.markdown(current_run.describe(run))
        if entry.state == "failed":
            st.caption(f":material/error: {md(run.status().get('error') or 'It failed.')}")
    if entry.label.tags:
        st.markdown(" ".join(f":gray-badge[{md(tag)}]" for tag in entry.label.tags))
    if entry.label.note:
        st.markdown("  \n".join(md(text) for text in entry.label.note.splitlines()))
    with st.container(horizontal=True, vertical_alignment="center"):
        if not entry.problem:
            for page in (pages.LOCALIZE, pages.COMPARE, pages.EVIDENCE):
                st.page_link(page.script, label=page.title, icon=page.icon, query_params={"run": run.id})
            st.page_link(
                pages.RUNS.script,
                label="Watch",
                icon=":material/visibility:",
                query_params={"run": run.id, "view": pages.THIS_RUN},
            )
            again(entry, run)
            archive.download([run])
        if not entry.bundled:
            bin_([entry], [run])
    st.caption(origin(entry, run))
    if entry.bundled:
        st.caption("It ships with Forgetscope and stays as it is. Start it again to have one of your own.")
    elif entry.state != "unreadable" or entry.label != Label():
        words(entry, run, tags)


def origin(entry: Overview, run: Run) -> str:
    """Say where a run lies and where it came from."""
    parts = [md(run.id), f"{entry.size / 1e6:.1f} MB on disk"]
    if entry.imported:
        parts.append(
            f"imported from {md(entry.imported.get('archive', '?'))} on {current_run.day(entry.imported.get('when'))}, "
            f"called {md(entry.imported.get('run', '?'))} there"
        )
        changed = entry.imported.get("changed")
        parts += [md(text) for text in changed] if isinstance(changed, list) else []
    return " · ".join(parts)


def again(entry: Overview, run: Run) -> None:
    """Offer to start a run again."""
    audit = not entry.problem and bool(run.config().audit.after)  # there is nothing to change in one: no method, no region
    options = [
        "same",
        *([] if audit else ["changed"]),
        *(["resume"] if entry.state in ("cancelled", "failed") and not run.bundled else []),
    ]
    asked = st.menu_button(
        "Start again",
        options,
        format_func=AGAIN.get,
        icon=":material/replay:",
        key="again.menu",
        help="What it computed before comes from the cache.",
    )
    if asked == "changed":
        current_run.open_run(run.id)
        st.query_params.update(again=run.id, view=pages.NEW_RUN)
        st.rerun()
    if asked in ("same", "resume"):
        with page_style.complaints():
            if asked == "same":
                run = lifecycle.submit(run.config(), store.runs_folder())
            else:
                lifecycle.resume(run)
            current_run.open_run(run.id)
            st.toast(f"{md(entry.name)} is started again.", icon=":material/replay:")
            st.rerun()


def words(entry: Overview, run: Run, tags: Sequence[str]) -> None:
    """Let a person name, pin, tag and note a run."""
    label, key = opened(run.id, entry.label)
    with st.expander("Name, pin, tags and note", icon=":material/edit:", key="label.open", on_change="rerun"):
        with st.form(key, border=False):
            left, right = st.columns([3, 2], gap="medium")
            name = left.text_input(
                "Name", label.name, max_chars=labels.LONGEST_NAME, key=f"{key}.name", placeholder="as in its settings"
            )
            marks = right.multiselect(
                "Tags",
                sorted({*tags, *label.tags}),
                list(label.tags),
                accept_new_options=True,
                key=f"{key}.tags",
                max_selections=labels.MOST_TAGS,
                placeholder="choose or write",
            )
            note = st.text_area("Note", label.note, max_chars=labels.LONGEST_NOTE, key=f"{key}.note")
            pinned = st.checkbox("Pinned: stands first in the table", label.pinned, key=f"{key}.pinned")
            if st.form_submit_button("Save", type="primary"):
                wanted = {"name": name, "tags": labels.tidy(marks), "note": note, "pinned": pinned}
                save(run, {field: value for field, value in wanted.items() if value != getattr(label, field)})


def opened(name: str, label: Label) -> tuple[Label, str]:
    """Return the label that the form was opened with, and the form's key: what is typed there outlives other browsers."""
    # The label may change under the form (another browser saves): what is typed is compared with what was opened.
    form = st.session_state.get(FORM)
    if form is None or form[0] != name:
        form = st.session_state[FORM] = (name, label, time.time_ns())
    return form[1], f"label.{name}.{form[2]}"


def save(run: Run, changes: dict[str, Any]) -> None:
    """Write what was changed, and only that: another browser may have changed the rest."""
    with page_style.complaints():
        if changes:
            labels.change(run, **changes)
        st.session_state.pop(FORM, None)
        st.toast("Saved.", icon=":material/check:")
        st.rerun()


def bin_(entries: Sequence[Overview], all_: Sequence[Run]) -> None:
    """Offer to delete runs, and ask first."""
    living = [run for run in entries if run.state in ALIVE]
    what = f"“{md(entries[0].name)}”" if len(entries) == 1 else f"{len(entries)} runs"
    if living:
        st.button(
            "Delete",
            icon=":material/delete:",
            disabled=True,
            help=f"{md(living[0].name)} is {living[0].state}: cancel it first.",
        )
        return
    with st.popover("Delete", icon=":material/delete:"):
        st.markdown(
            f"Delete {what}? Until you leave this page it can be undone. What other runs can re-use stays in the cache."
        )
        st.button(
            f"Delete {'it' if len(entries) == 1 else f'{len(entries)} runs'}",
            type="primary",
            key="delete.sure",
            on_click=_delete,
            args=(all_,),
        )


def _delete(all_: Sequence[Run]) -> None:
    trash.delete(list(all_))
    runs_table.remember([name for name in runs_table.chosen_ids() if name not in {run.id for run in all_}])


def several(chosen: Sequence[Overview], runs: Mapping[str, Run], name_of: Mapping[str, str]) -> None:
    """Show several runs side by side."""
    st.subheader(f"{len(chosen)} runs, side by side")
    mine = [run for run in chosen if not run.bundled]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            pages.EVIDENCE.script,
            label="Their scores",
            icon=pages.EVIDENCE.icon,
            query_params={
                "run": chosen[0].id,
                "part": "Scores",
                "beside": ",".join(run.id for run in chosen[1:]),
            },
        )
        archive.download([runs[run.id] for run in chosen])
        if mine:
            bin_(mine, [runs[run.id] for run in mine])
    good = [run for run in chosen if not run.problem]
    for run in chosen:
        if run.problem:
            st.error(f"**{md(run.problem)}**", icon=":material/error:")
    if len(good) < 2:
        return
    heads = {run.id: md(name_of[run.id]) for run in good}
    st.markdown("##### Scores")
    rows = score_rows({run.id: Scores.read(runs[run.id]) for run in good})
    if rows:
        st.table(
            [{"Measure": measure, **{heads[i]: text for i, text in cells.items()}} for measure, cells in rows.items()],
            hide_index=True,
            alt="Scores of the chosen runs",
        )
        st.caption("In brackets: the same model before unlearning and, as controls, models that were not taught all of it.")
    else:
        st.caption("None of them has scores yet.")
    st.markdown("##### Settings that differ")
    setting_differences.show({run.id: runs[run.id] for run in good}, name_of)


def score_rows(measured: Mapping[str, Scores]) -> dict[str, dict[str, str]]:
    """Return measure -> run -> its value with its controls, for every measure that any of the runs has."""
    kinds = [there for values in measured.values() if (there := asked.kinds(values))]
    # Counts can be compared where they are of the same kind of question.
    kind = next((kind for kind in asked.KIND_NAMES if kinds and all(kind in there for there in kinds)), "")
    tables = {
        name: {row["Measure"]: row for row in headline_scores.before_after(values, kind if asked.kinds(values) else "")}
        for name, values in measured.items()
    }
    measures = dict.fromkeys(measure for rows in tables.values() for measure in rows)
    return {measure: {name: _cell(rows.get(measure)) for name, rows in tables.items()} for measure in measures}


def _cell(row: Mapping[str, str] | None) -> str:
    if row is None:
        return headline_scores.MISSING
    others = (name for name in VOICE_NAMES.values() if name != VOICE_NAMES["after"])
    beside = [f"{name[:1].lower()}{name[1:]} {row[name]}" for name in others if row.get(name)]
    return f"**{row['After']}** :gray[({', '.join(beside)})]" if beside else f"**{row['After']}**"
