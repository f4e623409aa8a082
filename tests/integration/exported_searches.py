"""Small real searches whose trials are exported: a regression with RoBERTa, and pairs with BERT."""

from dataclasses import dataclass
from pathlib import Path

from qrlora_search.app.reading import read_search
from qrlora_search.app.report_files import read_front
from qrlora_search.values.states import TrialState
from search_runs import SPACE, Place, make_place


@dataclass(frozen=True)
class Done:
    """A finished search and a Finished trial of it."""

    place: Place
    output: Path
    trial: int

    @property
    def data(self) -> str:
        """Return the folder of its data."""
        return str(self.place.folder / "data")


TRAINED_HEAD = """
[head]
modes = ["trained"]
[bases]
of = "warmed-up"
[tau]
rule = "threshold"
"""
FULL_AND_CHOSEN = """
[methods]
of = ["qr-lora", "full"]
[bases]
directions = ["gradient"]
[full_learning_rate]
high = 1e-2
"""
SPACES = {
    "stsb": SPACE.replace("[warm_up]", "[warm_up]\nworkers = 2") + TRAINED_HEAD,
    "mrpc": SPACE.replace("rungs = [1, 2]", "rungs = []") + FULL_AND_CHOSEN,
}
SEARCHES = {"stsb": ("roberta", ("--max-params", "40")), "mrpc": ("bert", ())}


def searched(task: str, tmp_path_factory) -> Done:
    """Run a task's search on Ray, and return it with a trial of it."""
    family, more = SEARCHES[task]
    place = make_place(tmp_path_factory.mktemp(task), tmp_path_factory.mktemp("cache"), task, family, rows=80)
    (place.folder / "space.toml").write_text(SPACES[task])
    result = place.run("--budget", "3", "--output", "out", *more)
    assert result.returncode == 0, result.stdout + result.stderr
    return trial_of(place, place.folder / "out")


def trial_of(place: Place, output: Path) -> Done:
    """Return a search with a Finished trial of it, a member of its front where there is one."""
    history, _ = read_search(output, "OUTPUT")
    ended = [one.number for one in history.in_state(TrialState.FINISHED) if not one.configuration.whole]
    members = [one.trial for one in read_front(output).members if one.kept is None and one.trial in ended]
    return Done(place, output, (members or ended)[0])
