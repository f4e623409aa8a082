"""What a person sees while a search runs: a bar in a terminal, plain lines in a pipe or a log."""

import os
import time

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from qrlora_search.app.cost import states_in_words
from qrlora_search.app.draw_terminal import (
    bill_table,
    closing_lines,
    front_in_characters,
    front_table,
    importance_lines,
    pick_lines,
)
from qrlora_search.app.front_view import FrontView
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import HEAD_ONLY, History
from qrlora_search.record.storage import VARIABLE
from qrlora_search.values.secrets import shown_address
from qrlora_search.values.states import TrialState

MOST_SHOWN = 4
AT_THE_DRIVER = (
    f"record and study are SQLite in the output folder, on this machine alone; {VARIABLE} puts them into PostgreSQL"
)


def make_console() -> Console:
    """Returns the console: a terminal's own width, or wide plain lines in a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160, no_color=True)


def show_plan(console: Console, plan: SearchPlan) -> None:
    """Prints the resolved plan in full, with a banner where the data or the model are not what the user may expect."""
    if plan.stand_in:
        text = "STAND-IN DATA: generated, not GLUE. The scores say nothing about the real task."
        if plan.data.asked == "auto":
            text += "\nThe hub cannot be reached; give the real data with --data FOLDER."
        console.print(Panel(text, style="bold white on red" if console.is_terminal else "", expand=True))
    if plan.model.kind == "embedded" and plan.model.asked == "auto":
        console.print(Panel(f"MODEL: {plan.model.name} from its package, for want of the hub (roberta-base)."))
    table = Table(
        title=f"Plan of the search over {plan.title}", title_justify="left", show_header=False, pad_edge=False
    )
    for name, value in _plan_rows(plan):
        table.add_row(name, escape(value))
    console.print(table)


def _plan_rows(plan: SearchPlan) -> list[tuple[str, str]]:
    space, shape, counts = plan.space, plan.encoder, plan.counts
    report = ", ".join(f"{name} {number:,}" for name, number in counts.report.items())
    lists = f" and lists {[list(one) for one in space.layers.lists]}" if space.layers.lists else ""
    limits = [f"at most {plan.max_params:,} adapter parameters"] if plan.max_params else []
    limits += [f"{plan.time_limit_s:g} s"] if plan.time_limit_s else []
    places = plan.address or "this machine"
    return [
        ("model", f"{plan.model.name} ({plan.model.kind}): {shape.family}, {shape.layers} layers of {shape.width}, "
                  f"P = {shape.parameters:,}, head {shape.head_parameters:,}"),
        ("data", f"{plan.data.name} ({plan.data.kind}): train {counts.train:,}, selection {counts.selection:,}, "
                 f"report: {report}; {counts.dropped} rows of train dropped that also stand in the report split"),
        ("methods", ", ".join(space.methods.of)),
        ("bases", f"of the {space.bases.of} weights; tau {space.tau.low:g} to {space.tau.high:g}, "
                  f"{space.tau.rule} rule"),
        ("matrices", f"{len(space.matrices.names)} subsets: {', '.join(space.matrices.names)}"),
        ("layers", f"families {', '.join(space.layers.families)}{lists}"),
        ("learning rate", f"{space.learning_rate.low:g} to {space.learning_rate.high:g}, log"),
        ("trials", f"{plan.budget} of {space.training.epochs} epochs, compared at {list(space.training.rungs)}; batch "
                   f"{list(space.training.batch_sizes)}, dropout {space.training.dropout:g}, "
                   f"at most {space.training.max_length} tokens{promotion_in_words(plan)}"),
        ("confirmation", confirmation_in_words(plan)),
        ("derived", derived_in_words(plan)),
        ("selects on", "the VALIDATION SET: the report split feeds every decision, and its scores flatter the front"
                       if plan.on_validation else "examples held out of train; the report split feeds no decision"),
        ("head", f"{' or '.join(space.head.modes)} in trials; trained in warm-up"),
        ("warm-up", f"{space.warm_up.epochs} epochs at {space.warm_up.learning_rate:g}, "
                    f"batch {space.warm_up.batch_size}, {space.warm_up.workers} worker(s)"),
        ("sampler", _sampler_in_words(plan)),
        ("precision", f"{plan.precision} for frozen weights and states; coefficients, head and loss float32"),
        ("constant states", states_in_words(plan)),
        ("runs on", f"{places}: {resources_in_words(plan)}"),
        ("limits", ", ".join(limits) or "none"),
        ("output", plan.output),
        *([("hint", AT_THE_DRIVER)] if plan.address is not None and not os.environ.get(VARIABLE) else []),
        ("tracking", shown_address(plan.tracking_uri)),
    ]  # fmt: skip


def resources_in_words(plan: SearchPlan) -> str:
    """Returns how many trials run side by side, what each takes, and on which nodes."""
    many = "as many trials as it holds" if plan.concurrency is None else f"{plan.concurrency} trial(s)"
    cpus = f"{plan.cpus_per_trial} CPU and " if plan.cpus_per_trial is not None else ""
    labels = ", ".join(f"{name}={value}" for name, value in plan.labels.items())
    return f"{many} side by side, {cpus}{plan.gpus_per_trial:g} GPU each{f', on nodes with {labels}' if labels else ''}"


def confirmation_in_words(plan: SearchPlan) -> str:
    """Returns what confirmation will at most train."""
    confirm = plan.space.confirm
    if confirm.share == 0:
        return "none: the front stays UNCONFIRMED ([confirm] share = 0)"
    trainings = plan.confirm_epochs // plan.space.training.epochs
    each = FEW_MEMBERS + ("trained" in plan.space.head.modes)  # the head-only control comes first in each round
    few = trainings < each * confirm.warmups
    counted = f"{trainings} training{'' if trainings == 1 else 's'}"
    of_each = " on every warm-up" if confirm.warmups > 1 else ""
    return (
        f"front and control with up to {confirm.seeds} further seeds, at most {confirm.share:g} of the epochs that the "
        f"search trains, {plan.confirm_epochs} if none is stopped ({counted}); ends early where it cannot "
        f"change the front; {confirm.warmups} warm-up{'s, in turn' if confirm.warmups > 1 else ''}"
        + (f". TOO FEW to train {FEW_MEMBERS} members{of_each}: raise --budget or [confirm] share" if few else "")
    )


def promotion_in_words(plan: SearchPlan) -> str:
    """Returns what stopped trials may train when no new one starts."""
    training = plan.space.training
    if not training.rungs or training.promotion == 0:
        return ""
    return f"; the most promising of the stopped go on at the end, for at most {training.promotion:.0%} more epochs"


def derived_in_words(plan: SearchPlan) -> str:
    """Returns what is derived from Finished trials, and at what cost."""
    derived = plan.space.derived
    if derived.halvings == 0:
        return "none"
    most = derived.halvings * min(derived.trials, plan.budget)
    return (
        f"{derived.halvings} halvings of the coefficients of up to {derived.trials} trials on or near the front: at "
        f"most {most} passes over the selection split, no training"
    )


def _sampler_in_words(plan: SearchPlan) -> str:
    choice = plan.space.sampler
    first = [f"{len(plan.warm_start)} of an earlier front"] if plan.warm_start else []
    first += ["sensible points"] if choice.start_points else []
    return f"{choice.name}; first {' and '.join([*first, f'{choice.random_first} random'])}; seed {plan.seed}"


def show_front(console: Console, view: FrontView, output: str) -> None:
    """Prints the front as a picture and a table, where its files are, and what to type next."""
    console.print(front_in_characters(view, console.width), markup=False, no_wrap=True, overflow="crop")
    console.print(front_table(view))
    for line in (*closing_lines(view), *pick_lines(view), *importance_lines(view)):
        console.print(line, markup=False)
    console.print(bill_table(view))
    for note in view.notes:
        console.print(note, style="dim", markup=False)
    console.print(f"files: {output}/front.json, front.csv, front.html, front.png, front/ (adapters)", no_wrap=True)
    console.print("next: make ui (MLflow with every trial), or open front.html", no_wrap=True)


SCORED = {"scored", "derived", "confirm_scored", "confirm_control"}
FEW_MEMBERS = 4
"""Confirmation that cannot train so many once on each warm-up is said to be too short when it is planned."""
QUIET_S = 10.0
"""Scoring, which takes a second or a minute for each adapter, tells how far it is so often."""


class ProgressSink:
    """A `Sink` that shows a search's progress; it keeps a history of its own, made from the events it is given."""

    def __init__(self, console: Console) -> None:
        self.console, self.history = console, History()
        self.started = time.monotonic()
        self.before = 0
        self.scored, self.told_at = 0, time.monotonic()
        self.bar: Progress | None = None

    def take(self, event: Event) -> None:
        """Shows what an event changed."""
        self.history.apply(event)
        if event.kind in {"opened", "resumed"}:
            self.started, self.before = time.monotonic(), self._ended()
            self._begin()
        self.scored += event.kind in SCORED
        if self.bar is not None:
            words = self._scoring_line(event) if event.kind in SCORED else self._words()
            self.bar.update(self.bar.task_ids[0], completed=self._ended(), what=words)
        elif event.kind in SCORED and time.monotonic() - self.told_at < QUIET_S:
            return
        elif event.kind in SCORED:
            self.console.print(f"[scoring] {self._scoring_line(event)}", markup=False, no_wrap=True)
        elif event.kind == "ended" and event.trial is not None:
            self.console.print(self._line(event.trial), no_wrap=True, markup=False)
        elif event.kind == "promoted" and event.trial is not None:
            self.console.print(f"{_name(event.trial)} is taken up again: {event.data['reason']}", no_wrap=True)
        elif event.kind == "confirm_ended":
            words = self._confirm_line(int(str(event.data["run"])))
            self.console.print(words, markup=False, no_wrap=True)  # its bracket would be read as markup
        else:
            return
        self.told_at = time.monotonic()

    def _scoring_line(self, event: Event) -> str:
        name = "control" if event.trial is None else _name(event.trial)
        kept = f", its {event.data['kept']} largest," if event.data.get("kept") else ""
        return f"{name}{kept} on {event.data['split']}; {self.scored} adapters scored so far"

    def _begin(self) -> None:
        if self.bar is not None or not self.console.is_terminal or self.history.plan is None:
            return
        columns = [TextColumn("trials"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[what]}")]
        self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
        self.bar.add_task("trials", total=self.history.plan.budget, what="")
        self.bar.start()

    def _ended(self) -> int:
        return sum(self.history.ended.values())

    def _words(self) -> str:
        states = [f"{self.history.ended[state]} {state}" for state in TrialState]
        live = [one for one in self.history.live.values() if one.number != HEAD_ONLY]
        running = [f"{one.number} ({len(one.reports)} epochs)" for one in live[:MOST_SHOWN]]
        more = [f"{len(live) - MOST_SHOWN} more"] if len(live) > MOST_SHOWN else []
        return f"{', '.join(states)}; running {', '.join([*running, *more]) or 'none'}; {self._left()}"

    def _left(self) -> str:
        plan, ended = self.history.plan, self._ended()
        if plan is None or ended <= self.before:
            return "time left unknown"
        left = (time.monotonic() - self.started) / (ended - self.before) * max(0, plan.budget - ended)
        return f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left"

    def _confirm_line(self, number: int) -> str:
        confirmation = self.history.confirmation
        run = confirmation.runs[number]
        score = f" at {run.reports[-1].score:.4f}" if run.reports else ""
        spent = f"{confirmation.epochs} of {confirmation.allowed} epochs"
        return f"[confirming, {spent}] {_name(run.trial)}, seed {run.seed} {run.state}{score}; {run.reason}"

    def _line(self, number: int) -> str:
        one, plan = self.history.trials[number], self.history.plan
        score = "" if one.score is None else f" at {one.score:.4f}"
        done = f"[{self._ended()}/{plan.budget if plan else '?'}]"
        what = one.configuration
        size = f"{what.words}, {what.parameters} parameters, lr {what.learning_rate:g}"
        return f"{done} {_name(number)} {one.state}{score}: {size}; {one.reason}; {self._left()}"

    def close(self) -> None:
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.stop()


def _name(trial: int) -> str:
    return "head-only control" if trial == HEAD_ONLY else f"trial {trial}"
