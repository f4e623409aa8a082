"""Front views and what is drawn from them: the data object is looked at, and every drawing is made."""

import csv
import io

import numpy as np
import pytest

from qrlora_search.app.console import confirmation_in_words, make_console, show_front, show_plan
from qrlora_search.app.draw_html import front_html
from qrlora_search.app.draw_png import front_png
from qrlora_search.app.draw_terminal import closing_lines, front_in_characters
from qrlora_search.app.front_view import FrontView
from qrlora_search.app.plot_data import plot_data
from qrlora_search.app.report_files import front_csv, read_front, write_front
from qrlora_search.app.views.building import build_front_view
from qrlora_search.app.views.candidates import members_of
from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.plan import Source
from qrlora_search.describe.protocols import Event
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import HEAD_ONLY, History, history_of
from qrlora_search.values.errors import UserError
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.packing import pack
from test_loop import plan

N = 200
LABELS = np.random.default_rng(0).integers(0, 2, N)
SCORES = {0: (4, 0.80), 1: (10, 0.90), 2: (10, 0.70), 3: (30, 0.85), 4: (60, 0.95)}


def guesses(share: float) -> str:
    wrong = np.arange(N) >= round(share * N)
    return pack(np.where(wrong, 1 - LABELS, LABELS))


def scored(number, split, share):
    return number, "scored", {"split": split, "metrics": {"accuracy": share}, "packed": guesses(share), "loss": 0.5}


def make_history(kind="folder", control=0.75, head_only=None, harder=0.0) -> History:
    source = Source(kind=kind, asked="auto", name="somewhere")
    the_plan = plan(5).model_copy(update={"data": source})
    events = [
        (None, "opened", {"plan": the_plan.model_dump(mode="json"), "search_id": "s", "at": "now"}),
        (
            None,
            "prepared",
            {"made": [], "labels": {"selection": pack(LABELS), "validation": pack(LABELS)}, "seconds": 1},
        ),
        scored(None, "selection", control),
        scored(None, "validation", control - harder),
    ]
    trials = dict(SCORES) | ({HEAD_ONLY: (0, head_only)} if head_only else {})
    for number, (count, share) in trials.items():
        ranks = (AdaptedMatrix(2, "q", count),) if count else ()
        configuration = Configuration(ranks, 0.01, 32, 1, "frozen", 0.0, 0.0).to_json()
        report = {"epoch": 1, "score": share, "loss": 0.4, "seconds": 1.0, "packed": guesses(share)}
        events += [
            (number, "proposed", {"proposal": {"tau": 0.5}, "configuration": configuration}),
            (number, "started", {}),
            (number, "report", {**report, "metrics": {"accuracy": share}}),
            (number, "ended", {"state": "stopped" if number == 2 else "finished", "reason": "because"}),
            scored(number, "validation", share - 0.05 - harder),
        ]
        if number == HEAD_ONLY:
            events.append(scored(number, "selection", share))
    return history_of(Event(at, *one) for at, one in enumerate(events, start=1))


@pytest.fixture
def view() -> FrontView:
    return build_front_view(make_history(), "complete", 12.0)


def test_the_front_is_of_finished_trials_that_beat_the_control(view):
    assert [one.trial for one in view.members] == [0, 1, 4]
    assert members_of(make_history(control=0.93)) == [(4, None)]
    assert members_of(make_history(control=0.99)) == []
    history = make_history()
    volume = view.hypervolume
    assert volume.value == pytest.approx(hypervolume(history.finished(), 0.75, 10_000))
    assert 0 < volume.low < volume.value < volume.high
    assert f"[{volume.low:.4f}, {volume.high:.4f}] (n = {N})" in plot_data(view).footer
    assert any(volume.words in line for line in closing_lines(view))


def test_differences_are_paired_and_against_the_better_control(view):
    (difference,) = view.members[-1].against_control
    assert difference.difference == pytest.approx(0.90 - 0.75)
    assert difference.told_apart
    other = build_front_view(make_history(head_only=0.88), "complete", 1.0)
    assert other.better_control.kind == "head-only"
    assert [one.trial for one in other.members] == [1, 4]
    assert other.members[0].against_control[0].difference == pytest.approx(0.85 - 0.83)


def test_the_plot_shows_what_the_view_holds(view):
    plot = plot_data(view)
    assert plot.members_x == [4, 10, 60]
    assert plot.members_y == [0.80, 0.90, 0.95]
    assert plot.members_report == pytest.approx([0.75, 0.85, 0.90])
    assert plot.control == plot.control_report == 0.75
    assert [cloud.state for cloud in plot.clouds] == ["finished (4)", "stopped (1)"]
    assert all(low < y < high for low, y, high in zip(plot.members_low, plot.members_y, plot.members_high, strict=True))
    for part in (f"n = {N}", "selection split", "accuracy"):
        assert part in plot.y_label


def test_the_plot_shows_what_members_add_to_the_better_control_with_paired_intervals(view):
    selection, report = plot_data(view).gains
    assert selection.label == f"selection, n = {N}, over examples"
    assert report.label == f"report split, validation, n = {N}, over examples"
    for one, found in ((selection, [each.on_selection for each in view.members]),
                       (report, [each.against_control[0] for each in view.members])):  # fmt: skip
        assert one.x == [each.parameters for each in view.members]
        assert list(zip(one.y, one.low, one.high, strict=True)) == [(e.difference, e.low, e.high) for e in found]
    assert report.y[0] == pytest.approx(0.75 - 0.75)
    again = build_front_view(confirmed_history(), "complete", 1.0)
    assert {one.label.split("over ")[1] for one in plot_data(again).gains} == {"seeds and examples"}
    trained = build_front_view(make_history(head_only=0.88), "complete", 1.0)
    assert plot_data(trained).gains_label == "minus control (head-only)"
    assert plot_data(build_front_view(make_history(control=0.99), "complete", 1.0)).gains == []


def test_the_axis_of_what_members_add_names_the_objective(view, monkeypatch):
    from matplotlib.axes import Axes

    labels = []
    real = Axes.set_ylabel
    monkeypatch.setattr(
        Axes, "set_ylabel", lambda axes, label, **more: labels.append(label) or real(axes, label, **more)
    )
    assert front_png(view).startswith(b"\x89PNG")
    assert labels == [plot_data(view).y_label, "accuracy minus control"]
    assert '"text":"accuracy minus control"' in front_html(view)


@pytest.mark.parametrize("control", [0.75, 0.99], ids=["members", "control-alone"])
def test_every_drawing_is_made(control):
    view = build_front_view(make_history(control=control), "complete", 1.0)
    assert front_png(view).startswith(b"\x89PNG")
    page = front_html(view)
    assert "<script src=" not in page  # one file, no network
    table = page[page.rindex("</script>") :].split("</table>")[0]
    assert table.count("<tr>") == 2 + len(view.members)
    text = front_in_characters(view, 100)
    assert "C control" in text
    assert max(map(len, text.splitlines())) <= 110
    rows = list(csv.DictReader(io.StringIO(front_csv(view))))
    assert [row["parameters"] for row in rows] == ["0", *(str(one.parameters) for one in view.members)]
    if not view.members:
        assert any("the front is the control alone" in line for line in closing_lines(view))


def test_members_that_are_not_told_apart_are_said_so():
    history = make_history(control=0.75)
    for number in SCORES:
        history.scored[number, "validation"] = history.scored[None, "validation"]
    view = build_front_view(history, "complete", 1.0)
    assert not any(one.told_apart for member in view.members for one in member.against_control)
    assert any("not told apart" in line for line in closing_lines(view))


def test_generated_data_is_called_a_stand_in_everywhere(capsys):
    view = build_front_view(make_history(kind="stand-in"), "complete", 1.0)
    assert "STAND-IN" in plot_data(view).title
    assert "STAND-IN" in front_html(view)
    assert "stand-in" in front_csv(view)
    assert view.stand_in
    console = make_console()
    show_plan(console, view.plan)
    show_front(console, view, "out")
    said = capsys.readouterr().out
    assert said.count("STAND-IN") >= 4
    assert "\x1b[" not in said


@pytest.mark.parametrize(
    ("address", "storage", "hinted"),
    [(None, "", False), ("h:6379", "", True), ("h:6379", "postgresql://h/d", False)],
)
def test_a_plan_for_a_cluster_says_that_its_record_stays_here(capsys, monkeypatch, address, storage, hinted):
    monkeypatch.setenv("QRLORA_STORAGE", storage)
    view = build_front_view(make_history(), "complete", 1.0)
    show_plan(make_console(), view.plan.model_copy(update={"address": address}))
    assert ("QRLORA_STORAGE puts them into PostgreSQL" in capsys.readouterr().out) is hinted


@pytest.mark.parametrize(
    ("budget", "confirm", "told"),
    [
        (5, {"share": 0.2}, "(1 training)"),
        (20, {"share": 0.2}, ""),
        (20, {"share": 0.2, "warmups": 3}, "4 members on every warm-up: raise --budget or [confirm] share"),
        (60, {"share": 0.2, "warmups": 3}, ""),
        (5, {"share": 0}, "stays UNCONFIRMED"),
    ],
)
def test_a_plan_says_where_its_confirmation_will_be_too_short(budget, confirm, told):
    said = confirmation_in_words(plan(budget, confirm=confirm))
    assert told in said
    assert ("TOO FEW" in said) == (told not in {"", "stays UNCONFIRMED"})


def test_what_is_printed_of_a_plan_is_not_taken_for_markup(capsys):
    short = plan(20, confirm={"share": 0.2}, head={"modes": ["trained"]})
    assert "TOO FEW" in confirmation_in_words(short)  # the head-only control takes one of the four
    assert "TOO FEW" not in confirmation_in_words(plan(25, confirm={"share": 0.2}, head={"modes": ["trained"]}))
    show_plan(make_console(), short)
    said = "".join(capsys.readouterr().out.replace("│", "").split())
    assert "raise--budgetor[confirm]share" in said
    assert "thestoppedgoonattheend,foratmost20%moreepochs" in said


def confirmed_history() -> History:
    """Return a history with a derived adapter, confirmed with two further seeds."""
    history = make_history()
    last = max(SCORES)
    shares = {(0, None): 0.79, (1, None): 0.74, (4, 30): 0.92, (4, None): 0.93}
    more = [(4, "derived", {"kept": 30, **scored(4, "selection", 0.94)[2]})]
    more += [(None, "confirm_planned", {"candidates": list(shares), "epochs": 9, "seeds": [1, 2]})]
    number = 0
    for trial in (0, 1, 4):
        for seed in (1, 2):
            own = {key: share + 0.005 * (seed - 1) for key, share in shares.items() if key[0] == trial}
            line = {"run": number, "epoch": 1, "score": 0.5, "loss": 0.4, "seconds": 1.0, "packed": "", "metrics": {}}
            more += [(trial, "confirm_started", {"run": number, "seed": seed}), (trial, "confirm_report", line)]
            for (_, kept), share in own.items():
                for split in ("selection", "validation"):
                    data = scored(trial, split, share)[2]
                    more.append((trial, "confirm_scored", {"run": number, "kept": kept, **data}))
            more.append((trial, "confirm_ended", {"run": number, "state": "finished", "reason": "all 1 epochs"}))
            number += 1
    more.append((None, "confirm_closed", {"reason": "every seed was used"}))
    more.append((4, "derived", {"kept": 30, **scored(4, "validation", 0.9)[2]}))
    for at, one in enumerate(more):
        history.apply(Event(1000 + at, *one))
    assert last == 4
    return history


def test_a_confirmed_front_shows_what_the_selection_promised(capsys):
    view = build_front_view(confirmed_history(), "complete", 1.0)
    assert [one.name for one in view.members] == ["0", "4, 30 kept", "4"]
    derived = view.members[1]
    assert (derived.parameters, derived.kept, derived.selection.seeds) == (30, 30, 2)
    assert derived.selection.score == pytest.approx(0.9225)
    assert derived.first.score == pytest.approx(0.94)
    assert derived.report[0].score == pytest.approx(0.9225)
    assert derived.exported_report[0].score == pytest.approx(0.9)
    assert derived.selection.over == "seeds and examples"
    assert 0 < derived.probability <= 1
    assert view.hypervolume.raw > view.hypervolume.without_derived
    assert view.confirmation.curse == pytest.approx(np.mean([0.0075, 0.1575, 0.0175, 0.0175]))
    first, report = [one.first.score for one in view.members], [one.report[0].score for one in view.members]
    assert view.confirmation.splits_apart == 0.0
    assert view.confirmation.curse_report == pytest.approx(np.mean(first) - np.mean(report))
    assert {one.name: (one.trial, one.kept) for one in view.picks}["best"] == (4, None)
    plot = plot_data(view)
    assert plot.members_derived == [False, True, False]
    assert plot.members_first == pytest.approx([0.80, 0.94, 0.95])
    assert "confirmed by 2 further seeds a member" in plot.caption
    assert "derived (1)" in [cloud.state for cloud in plot.clouds]
    assert front_png(view).startswith(b"\x89PNG")
    page = front_html(view)
    for part in ("winner's curse", "triangle-down", "95 % band", "Picks", "Bill", "too few"):
        assert part in page.replace("&#x27;", "'")
    show_front(make_console(), view, "out")
    said = capsys.readouterr().out
    assert "(mean over 4 candidates)" in said
    for part in ("P on front", "winner's curse", "pick knee", "pick one-se", "core-seconds", "4, 30 kept", "V front"):
        assert part in said


def test_notes_are_shown_with_the_brackets_that_name_a_setting(capsys):
    view = build_front_view(make_history(), "complete", 1.0)
    noted = view.model_copy(update={"notes": [*view.notes, "A larger [confirm] share trains all."]})
    show_front(make_console(), noted, "out")
    assert "A larger [confirm] share trains all." in " ".join(capsys.readouterr().out.split())


def test_a_report_split_that_is_harder_for_the_control_too_is_no_curse(capsys):
    even, harder = (build_front_view(make_history(harder=less), "complete", 1.0) for less in (0.0, 0.1))
    assert (even.confirmation.splits_apart, harder.confirmation.splits_apart) == pytest.approx((0.0, 0.1))
    assert harder.members[0].report[0].score == pytest.approx(even.members[0].report[0].score - 0.1)
    assert harder.confirmation.curse_report == pytest.approx(even.confirmation.curse_report)
    assert even.confirmation.curse_report == pytest.approx(0.05)
    show_front(make_console(), harder, "out")
    assert "less +0.1000 by which the control differs there" in " ".join(capsys.readouterr().out.split())


def test_a_file_of_version_1_is_read_from_its_record_or_refused(tmp_path):
    view = build_front_view(make_history(), "complete", 12.0)
    write_front(view, tmp_path)
    assert read_front(tmp_path) == view
    (tmp_path / "front.json").write_text('{"version": 1, "task": "sst2"}')
    with pytest.raises(UserError, match=r"is of version 1, this program reads 2"):
        read_front(tmp_path)
    record = Record(record_url(tmp_path))
    the_plan = plan(5).model_dump(mode="json")
    for name in ("selection", "confirm", "derived"):  # as the record of an earlier version has it
        del the_plan["space"][name]
    record.append("opened", {"plan": the_plan, "search_id": "old", "at": "now"})
    record.append("prepared", {"made": [], "labels": {"selection": pack(LABELS), "validation": pack(LABELS)}})
    record.append(*scored(None, "selection", 0.75)[1:])
    record.close()
    assert read_front(tmp_path).search_id == "old"
    (tmp_path / "front.json").write_text("not JSON")
    with pytest.raises(UserError, match="is no front of a search"):
        read_front(tmp_path)


def test_a_front_that_the_validation_set_chose_says_so_everywhere(capsys):
    history = make_history()
    history.plan = history.plan.model_copy(
        update={"space": plan(selection={"on": "validation"}, confirm={"share": 0}).space}
    )
    view = build_front_view(history, "complete", 1.0)
    assert view.marks == ["SELECTED ON THE VALIDATION SET", "UNCONFIRMED"]
    assert view.selected_on == "validation"
    assert any("the report split fed every decision" in note for note in view.notes)
    assert not any("fed no decision" in note for note in view.notes)
    assert "SELECTED ON THE VALIDATION SET" in plot_data(view).title
    assert "SELECTED ON THE VALIDATION SET" in front_html(view)
    assert next(csv.DictReader(io.StringIO(front_csv(view))))["selected_on"] == "validation"
    show_plan(make_console(), view.plan)
    assert "the VALIDATION SET: the report split feeds every decision" in capsys.readouterr().out


def test_a_view_survives_its_json(view):
    assert FrontView.model_validate_json(view.model_dump_json()) == view
