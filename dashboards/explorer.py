"""The Pareto explorer: a Streamlit page over MLflow and front views. Start it with `python -m platform.explorer`."""

import time
from contextlib import suppress
from typing import Any

import streamlit as st
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

import exploring_data as data
import exploring_figures as figures
import exploring_spectra as spectral
from exploring_data import Loaded, Search, Trial

ADDRESS = data.address()
REFRESH_S = 4.0
WATCH_S = 10.0
NO_DECISION = {"finished": "nothing: it was not asked", "derived": "nothing: it was not trained"}


@st.cache_resource
def store() -> Any:
    """Returns the MLflow client."""
    return data.client(ADDRESS)


@st.cache_data(ttl=REFRESH_S, show_spinner=False)
def found_tasks() -> dict[str, str]:
    """Returns tasks by experiment."""
    return data.tasks(store())


@st.cache_data(ttl=REFRESH_S, show_spinner=False)
def found_searches(experiment: str, task: str) -> list[Search]:
    """Returns the searches of a task."""
    return data.searches(store(), experiment, task)


@st.cache_data(ttl=REFRESH_S, show_spinner=False)
def loaded_search(search: Search) -> Loaded:
    """Returns a search with its trials."""
    return data.load(store(), search)


@st.cache_data(ttl=600, show_spinner=False)
def spectra_of(run: str) -> dict[str, Any]:
    """Returns the spectra of a search."""
    return data.json_file(store(), run, "spectra.json")


def known_searches() -> list[tuple[str, str, bool]]:
    """Returns every search that there is, as its experiment, its run, and whether it runs."""
    tasks = found_tasks()
    return [(one, search.run, search.live) for one, task in tasks.items() for search in found_searches(one, task)]


def watch(known: list[tuple[str, str, bool]]) -> None:
    """Draws the page anew once a search has begun or ended."""
    with suppress(MlflowException, SQLAlchemyError, OSError):  # the page says so
        if known_searches() != known:
            st.rerun()


def main() -> None:
    """Draws the page; a tracking store that does not answer becomes a message with the remedy."""
    st.set_page_config(page_title="QR-LoRA Pareto explorer", layout="wide")
    st.title("QR-LoRA Pareto explorer")
    try:
        with st.spinner("reading MLflow"):
            tasks = found_tasks()
            st.fragment(watch, run_every=WATCH_S)(known_searches())
        if not tasks:
            st.info("No search has run yet. Start one with `make search`; it shows up here while it runs.")
            return
        chosen = choose(tasks)
        if chosen:
            every = REFRESH_S if any(one.live for one in chosen) else None
            st.fragment(page, run_every=every)(chosen[0].experiment, chosen[0].task, [one.run for one in chosen])
    except (MlflowException, SQLAlchemyError, OSError) as error:
        failed(error)


def failed(error: Exception) -> None:
    """Says that the tracking store could not be read."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    st.error(
        f"MLflow cannot be read: {first}\n\nStart the tracking server again, or start the explorer with "
        "`--tracking-uri` of the store that the searches write to; then reload this page."
    )


def choose(tasks: dict[str, str]) -> list[Search]:
    """Returns the searches picked in the side bar."""
    with st.sidebar:
        experiment = st.selectbox("Task", list(tasks), format_func=lambda one: tasks[one])
        known = {one.run: one for one in found_searches(experiment, tasks[experiment])}
        names = {one.run: f"{one.name}{' (running)' if one.live else ''} {one.search_id[:6]}" for one in known.values()}
        runs, key = list(known), f"searches of {experiment}"
        first = {"default": runs[:1]} if key not in st.session_state else {}  # later the user's picks are kept
        picked = st.multiselect("Searches", runs, format_func=lambda run: names.get(run, run), key=key, **first)
        if not known:
            st.info("This task has no search.")
        elif not picked:
            st.info("Pick a search.")
    return [known[run] for run in picked if run in known]


def read(experiment: str, task: str, runs: list[str]) -> list[Loaded]:
    """Returns searches with their trials. A session's first reading draws empty axes, so that the browser fetches what
    draws figures meanwhile.
    """
    waiting = st.empty()
    if "read" not in st.session_state:
        waiting.plotly_chart(figures.waiting_figure(), key="waiting", width="stretch")
    try:
        with st.spinner("reading trials"):
            known = {one.run: one for one in found_searches(experiment, task)}
            loaded = [loaded_search(known[run]) for run in runs if run in known]
        st.session_state["read"] = True
    finally:
        waiting.empty()
    return loaded


def page(experiment: str, task: str, runs: list[str]) -> None:
    """Draws what was picked, read anew each time."""
    try:
        loaded = read(experiment, task, runs)
        if any(one.search.stand_in for one in loaded):
            st.warning("STAND-IN data: generated, not GLUE. The scores say nothing about the real task.")
        for mark in sorted({mark for one in loaded for mark in one.marks} - {"STAND-IN data, not GLUE"}):
            st.warning(f"{mark}.")
        trials = [trial for one in loaded for trial in one.trials]
        if not trials:
            st.info("No trial has started yet: the warm-up is being made.")
            return
        show_front(loaded, filtered(trials))
        show_trial(loaded, trials)
        for one in loaded:
            show_search(one)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        failed(error)


def filtered(trials: list[Trial]) -> list[Trial]:
    """Returns the trials that the filters leave."""
    columns = st.columns(4)
    states = sorted({one.state for one in trials})
    methods = sorted({one.method for one in trials})
    kinds = sorted({one.params.get("matrices", "") for one in trials})
    # By keys: what is picked is kept while states and methods are added by a search that runs.
    kept_states = columns[0].multiselect("Status", states, placeholder="all", key="status")
    kept_methods = columns[1].multiselect("Method", methods, placeholder="all", key="method")
    kept_kinds = columns[2].multiselect("Matrices", kinds, placeholder="all", key="matrices")
    most = columns[3].number_input("At most so many parameters", min_value=0, value=0, help="0: no limit", key="most")
    return [
        one
        for one in trials
        if (not kept_states or one.state in kept_states)
        and (not kept_methods or one.method in kept_methods)
        and (not kept_kinds or one.params.get("matrices", "") in kept_kinds)
        and (not most or one.parameters <= most)
    ]


def show_front(loaded: list[Loaded], shown: list[Trial]) -> None:
    """Draws the front and takes clicks: the trial of a clicked point becomes the one in detail."""
    figure = figures.front_figure(loaded, shown)
    st.plotly_chart(figure, key="front", on_select=lambda: take_click(loaded), selection_mode="points", width="stretch")
    derived = sum(one.state == "derived" for one in shown)
    st.caption(
        f"{len(shown) - derived} trials and {derived} adapters derived of them are shown. Bars: 95 % intervals over "
        "examples, and over seeds or warm-ups where there are several. Click a point, or pick a trial below, for its "
        "story."
    )
    for one in (each for each in loaded if each.said):
        with st.expander(f"What {one.search.name}'s numbers mean", expanded=len(loaded) == 1):
            st.caption("\n".join(f"- {plain(line)}" for line in one.said))


def plain(line: str) -> str:
    """Returns a line whose signs Markdown does not read as its own."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>$~#|" else sign for sign in line)


def take_click(loaded: list[Loaded]) -> None:
    """Notes which trial was clicked."""
    points = st.session_state.get("front", {}).get("selection", {}).get("points", [])
    for point in points:
        clicked = point.get("customdata")
        if clicked:
            run, number, kept = str(clicked[0]), int(clicked[1]), int(clicked[2]) or None
            found = (trial for one in loaded if one.search.run == run for trial in one.trials)
            named = {(trial.number, trial.kept): label(trial) for trial in found}
            st.session_state["trial"] = named.get((number, kept), st.session_state.get("trial"))


def label(trial: Trial) -> str:
    """Returns what a trial is called in the list: searches of one plan have one name, so their runs are told."""
    return f"{trial.search} {trial.parent[:4]} {trial.name}"


def show_trial(loaded: list[Loaded], trials: list[Trial]) -> None:
    """Draws one trial: configuration, curve, decisions, spectra, and the command that exports it."""
    named = {label(one): one for one in trials}
    if st.session_state.get("trial") not in named:
        members = [name for name, one in named.items() if one.on_front]  # the smallest one is shown at first
        st.session_state["trial"] = min(members or named, key=lambda name: named[name].parameters)
    st.subheader("One trial")
    trial = named[st.selectbox("Trial", list(named), key="trial")]
    search = next(one.search for one in loaded if one.search.run == trial.parent)
    left, right = st.columns(2)
    with left:
        st.markdown(
            f"**{trial.words}**, {trial.parameters:,} adapter parameters, **{trial.state}**"
            + (f", Pareto rank {trial.rank}" if trial.rank else "")
            + (", on the front" if trial.on_front else "")
        )
        st.markdown(trial.reason or "It has not ended.")
        if trial.state in {"finished", "derived"} and trial.number >= 0:
            st.code(data.export_command(search, trial), language="bash", wrap_lines=True)
        st.link_button("This trial in MLflow", data.run_link(ADDRESS, search.experiment, trial.run))
        if trial.own_run:
            st.link_button("This adapter in MLflow", data.run_link(ADDRESS, search.experiment, trial.own_run))
        st.markdown("What the stopping rule said, by epoch")
        st.code(trial.decisions or NO_DECISION.get(trial.state, "nothing yet"), language=None, wrap_lines=True)
        hidden = {"ranks", "words"}
        st.dataframe(
            {"setting": [name for name in sorted(trial.params) if name not in hidden],
             "value": [trial.params[name] for name in sorted(trial.params) if name not in hidden]},
            hide_index=True, height=240,
        )  # fmt: skip
    with right:
        score, loss = (data.curve(store(), trial.run, name) for name in ("score", "held_out_loss"))
        st.plotly_chart(figures.curve_figure(trial, score, loss, search), key="curve", width="stretch")
        spectra = spectra_of(search.run)
        cuts = spectral.cuts(trial, spectra)
        if cuts:
            levels, rule = spectral.taus(trial, search), spectra.get("rule", "energy")
            figure = spectral.spectra_figure(cuts, levels, rule, trial.method)
            st.plotly_chart(figure, key="spectra", width="stretch")
        else:
            st.caption(spectral.why_none(trial))


def show_search(one: Loaded) -> None:
    """Draws what a search has come to: picks, importance, the bill, and its links."""
    search = one.search
    st.subheader(f"{search.name}: {'running' if search.live else search.status.lower()}")
    counts = {"front_hypervolume": "hypervolume", "front_members": "front_size", "front_best_score": "best_score"}
    ended = not search.live  # as it counts; while it runs, also after an earlier end, by the scores that it sees
    worth = [name if ended and name in search.metrics else raw for name, raw in counts.items()]
    numbers = (*worth, "trials_finished", "trials_stopped", "trials_failed")
    for column, name in zip(st.columns(len(numbers)), numbers, strict=True):
        value = search.metrics.get(name)
        column.metric(name.replace("_", " "), "-" if value is None else f"{value:.4g}")
    links = [f"[its run in MLflow]({data.run_link(ADDRESS, search.experiment, search.run)})"]
    links += [f"[its trials in MLflow's charts]({search.link})"] if search.link else []
    st.markdown(" · ".join(links))
    if not ADDRESS.startswith("http"):
        st.caption("The links need `make ui`, which serves MLflow at 127.0.0.1:5000.")
    if silence := one.silence(time.time()):
        st.warning(silence)
    if search.live:
        st.plotly_chart(
            figures.live_figure(data.curve(store(), search.run, "hypervolume"), search), key=f"live {search.run}",
            width="stretch",
        )  # fmt: skip
    if gains := figures.gains_figure(one.view):
        st.plotly_chart(gains, key=f"gains {search.run}", width="stretch")
    picks, importance, bill = st.tabs(["Picks", "Importance", "The bill"])
    with picks:
        show_picks(one)
    with importance:
        show_importance(one)
    with bill:
        show_bill(one)


def show_picks(one: Loaded) -> None:
    """Lists the members that one would take."""
    picks = one.view.get("picks")
    if picks:
        st.dataframe(
            {"pick": [pick["name"] for pick in picks], "trial": [pick["trial"] for pick in picks],
             "parameters": [pick["parameters"] for pick in picks], "why": [pick["words"] for pick in picks]},
            hide_index=True,
        )  # fmt: skip
    elif one.search.picks:
        for name, words in one.search.picks.items():
            st.markdown(f"**{name}**: {words}")
    else:
        st.caption("No picks: the front is the control alone, or the search has not ended.")


def show_importance(one: Loaded) -> None:
    """Draws which settings matter, where the front view says so."""
    found = one.view.get("importance") or []
    for place, importance in enumerate(found):
        if importance["settings"]:
            key = f"importance {place} {one.search.run}"
            st.plotly_chart(figures.importance_figure(importance), key=key, width="stretch")
        st.caption(importance["words"])
    if not found:
        st.caption("This front view holds no importance: the search has not ended, or its version has none.")


def show_bill(one: Loaded) -> None:
    """Lists what was spent and saved."""
    bill = one.view.get("bill")
    if bill:
        lines = bill["lines"]
        st.dataframe(
            {"": [line["kind"] for line in lines], "for": [line["name"] for line in lines],
             "epochs": [line["epochs"] for line in lines],
             bill["unit"]: [round(line["seconds"], 1) for line in lines],
             "how known": ["estimated" if line["estimated"] else "measured" for line in lines],
             "what": [line["words"] for line in lines]},
            hide_index=True,
        )  # fmt: skip
        counted = f"{bill['counterfactual_epochs']:,} epochs, {bill['counterfactual_seconds']:,.1f} {bill['unit']}"
        st.markdown(f"Counterfactual, trials without stopping, duplicates and constant states: {counted}")
        return
    spent, saved = one.search.metrics.get("spent_seconds"), one.search.metrics.get("saved_epochs")
    st.markdown(f"Spent in trials: {'-' if spent is None else f'{spent:,.1f} s'}")
    st.markdown(f"Epochs saved by stopping: {'-' if saved is None else f'{saved:,.0f}'}")


if __name__ == "__main__":
    main()
