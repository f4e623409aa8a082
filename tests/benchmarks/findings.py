"""What matters, asked of real tasks: fixed configurations trained from several warm-ups, each on its own rows of train.

    python -m tests.benchmarks.findings --task cola --data "$GLUE" [--seeds 8] [--train-limit 2000]
    python -m tests.benchmarks.findings --task cola --data "$GLUE" --first-seed 5 --seeds 3     # three more seeds
    python -m tests.benchmarks.findings --task cola --data "$GLUE" --only gradient tilted-front  # some searches alone
    python -m tests.benchmarks.findings_report          # docs/findings.md from what is kept

A seed is a warm-up, a draw of the rows of train (where --train-limit leaves some out) and an order of batches. Every
configuration differs from one of them, the first, in one thing; bases and ways to count that a space holds fixed are
searches of their own on the same warm-up. Nothing is selected, so all are scored on the report split. What is kept, in
tests/benchmarks/findings_data, are packed predictions without texts; more seeds or searches join what is kept where
the warm-up's control is the same. What was kept of other rows, data or another precision is refused before anything
is trained, with exit code 2. Killed, the same command goes on.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qrlora_search.app.console import make_console, show_plan
from qrlora_search.app.output import open_output
from qrlora_search.app.planning import Planned, plan_search
from qrlora_search.app.reproducing import score_all
from qrlora_search.app.request import Checked, SearchRequest, check_request
from qrlora_search.describe.configuration import Matrix
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.presets import Preset, paper_space
from qrlora_search.describe.proposals import canonical
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.space import SearchSpace
from qrlora_search.method.bases import factorise
from qrlora_search.method.families import attention_weights, read_config
from qrlora_search.method.fine_tuning import read_weights
from qrlora_search.method.machine import cpus_here
from qrlora_search.record.history import HEAD_ONLY, History
from qrlora_search.values.errors import UserError
from qrlora_search.values.states import TrialState

HERE = Path(__file__).parent / "findings_data"
EMBEDDED = "all-MiniLM-L6-v2"
"""The name of the model that --model is by default."""
FIRST = "QR, Wq Wv, last third, tau 0.5, lr 0.01"
HEAD = "head alone, trained"
TILT = 0.25
MATCHED = 0.02
"""The learning rate at which steps along the unit rows of other bases are about as large as along QR's at 0.01."""
MATCHED_SVD, MATCHED_RANDOM = f"SVD, lr {MATCHED}", f"random basis, lr {MATCHED}"
FRONT = {"tau 0.25": {"tau": 0.25}, FIRST: {}, "tau 0.75": {"tau": 0.75}, "all four matrices": {"matrices": "qkvo"}}
"""A front of four sizes, and what differs in them from the first configuration."""
BY_GRADIENT, MORE_Q, MORE_V = ", by gradient", ", more of Wq", ", more of Wv"
"""Behind a configuration's name: the same in another form, at the same or nearly the same count."""
SEARCHES = {
    "main": FIRST,
    "threshold": "ranks by threshold",
    "warmed-up": "bases of the warmed-up weights",
    "matched": MATCHED_SVD,
    "tilted": "more of Wq than of Wv",
    "gradient": f"tau 0.25{BY_GRADIENT}",
    "tilted-front": f"tau 0.25{MORE_Q}",
}
"""The searches of a seed, each with a configuration that it alone trains."""
Named = dict[str, Parameters]


def first(space: SearchSpace, depth: int) -> Parameters:
    """Return the configuration that the others differ from: the paper's first, scaled to the depth."""
    return {**Preset("", "qr-lora", "qv", 4).proposal(space, depth), "learning_rate": 0.01}


def main_rows(space: SearchSpace, depth: int) -> Named:
    """Return the configurations of one space by name."""
    base = {**first(space, depth), "directions": "order"}
    changed: dict[str, dict[str, Any]] = {
        FIRST: {},
        "SVD in place of QR": {"method": "svd-diagonal"},
        "random basis in place of QR": {"method": "random-basis"},
        "tau 0.25": FRONT["tau 0.25"],
        "tau 0.75": FRONT["tau 0.75"],
        "lr 0.003": {"learning_rate": 0.003},
        "lr 0.03": {"learning_rate": 0.03},
        "lr 0.1": {"learning_rate": 0.1},
        "Wq alone": {"matrices": "q"},
        "Wo alone": {"matrices": "o"},
        "all four matrices": FRONT["all four matrices"],
        "the last layer alone": {"last": 1},
        "all layers": {"last": depth},
        "head trained": {"head": "trained"},
        "directions by gradient": {"directions": "gradient"},
    }
    return {name: {**base, **more} for name, more in changed.items()}


def other_spaces(space: SearchSpace, depth: int, counted: "Counted") -> Iterator[tuple[str, SearchSpace, Named]]:
    """Yield what a space holds fixed: a name for its folder, the space, and its configurations by name. tau is such
    that their counts are nearest to the first one's.
    """
    plain, table = first(space, depth), space.model_dump(mode="json")
    count = counted(space, plain)
    threshold = SearchSpace.model_validate({**table, "tau": {**table["tau"], "low": 1e-3, "rule": "threshold"}})
    yield "threshold", threshold, {"ranks by threshold": nearest(threshold, plain, count, counted)}
    yield (
        "warmed-up",
        SearchSpace.model_validate({**table, "bases": {**table["bases"], "of": "warmed-up"}}),
        {"bases of the warmed-up weights": plain},
    )
    yield (
        "matched",
        space,
        {
            MATCHED_SVD: {**plain, "method": "svd-diagonal", "learning_rate": MATCHED},
            MATCHED_RANDOM: {**plain, "method": "random-basis", "learning_rate": MATCHED},
        },
    )
    tilted = SearchSpace.model_validate({**table, "tau": {**table["tau"], "tilt": TILT}})

    def tilts(sign: int) -> Parameters:
        return {f"tilt_{kind}": 0.0 for kind in "qkvo"} | {"tilt_q": sign * TILT, "tilt_v": -sign * TILT}

    names = (("more of Wq than of Wv", 1), ("more of Wv than of Wq", -1))
    yield "tilted", tilted, {name: nearest(tilted, plain | tilts(sign), count, counted) for name, sign in names}
    others = {name: {**plain, **more} for name, more in FRONT.items() if more}
    chosen = SearchSpace.model_validate({**table, "bases": {**table["bases"], "directions": ["gradient"]}})
    yield "gradient", chosen, {f"{name}{BY_GRADIENT}": one | {"directions": "gradient"} for name, one in others.items()}
    yield (
        "tilted-front",
        tilted,
        {
            f"{name}{words}": nearest(tilted, one | tilts(sign), counted(space, one), counted)
            for name, one in others.items()
            for words, sign in ((MORE_Q, 1), (MORE_V, -1))
        },
    )


class Counted:
    """Exact counts of proposals, from the pretrained weights' spectra."""

    def __init__(self, planned: Planned) -> None:
        folder = Path(planned.plan.model.path)
        weights = attention_weights(read_config(folder), read_weights(folder))
        bases = factorise(weights, cpus_here())
        self.spectra: dict[tuple[int, Matrix], Any] = {place: one.diagonal_D for place, one in bases.items()}
        self.depth = planned.plan.encoder.layers

    def __call__(self, space: SearchSpace, proposal: Parameters) -> int:
        """Return how many parameters a proposal trains."""
        return canonical(space, proposal, self.spectra, self.depth).parameters


def nearest(space: SearchSpace, proposal: Parameters, count: int, counted: Counted) -> Parameters:
    """Return a proposal with tau such that it trains as nearly as possible so many parameters."""
    taus = [space.tau.low + (space.tau.high - space.tau.low) * step / 400 for step in range(401)]
    return min(({**proposal, "tau": tau} for tau in taus), key=lambda one: abs(counted(space, one) - count))


def checked(asked: argparse.Namespace, seed: int, folder: str) -> Checked:
    """Return a checked request of one seed."""
    output = str(asked.output / asked.task / f"seed-{seed}" / folder)
    request = SearchRequest(
        asked.task,
        1,
        asked.model,
        asked.data,
        seed=seed,
        output=output,
        resume=True,
        train_limit=asked.train_limit,
        tracking_uri=f"sqlite:///{asked.output.resolve()}/mlflow.db",
    )
    return check_request(request)


def plans(asked: argparse.Namespace) -> Iterator[tuple[int, Planned, Named]]:
    """Yield every search: its seed, its plan, and its configurations by name. Raises UserError before the first where
    its rows could not join what is kept.
    """
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        one = checked(asked, seed, "main")
        table = paper_space(one.space).model_dump(mode="json")
        plain = SearchSpace.model_validate(table)
        heads = {**table["head"], "modes": ["frozen", "trained"]}
        ways = {**table["bases"], "directions": ["order", "gradient"]}
        main = SearchSpace.model_validate({**table, "head": heads, "bases": ways})
        planned = plan_search(replace(one, space=main))
        check_kept(planned.plan)
        depth = planned.plan.encoder.layers
        if "main" in asked.only:
            yield seed, *filled(planned, main_rows(main, depth))
        for name, space, rows in other_spaces(plain, depth, Counted(planned)):
            if name in asked.only:
                yield seed, *filled(plan_search(replace(checked(asked, seed, name), space=space)), rows)


def filled(planned: Planned, rows: Named) -> tuple[Planned, Named]:
    """Return a plan that trains these configurations and no others."""
    plan = planned.plan.model_copy(update={"warm_start": tuple(rows.values()), "budget": len(rows)})
    return replace(planned, plan=plan), rows


def train(searches: list[tuple[int, Planned, Named]]) -> None:
    """Train what is not there yet, on one Ray."""
    from qrlora_search.adapters.ray_engine.cluster import ray_running
    from qrlora_search.app.run_search import run_on_ray

    console = make_console()
    missing = [planned for _, planned, _ in searches if open_output(planned, resume=True) != "finished"]
    with ray_running(None, cpus_here()):
        for number, planned in enumerate(missing, 1):
            console.print(f"{number} of {len(missing)}: {planned.output}", markup=False)
            if number == 1:
                show_plan(console, planned.plan)
            if run_on_ray(planned, console):
                raise SystemExit("the same command goes on from here")


def found(history: History, proposal: Parameters | None, split: str) -> dict[str, Any] | None:
    """Return what a configuration (None: the head alone) became: its words, its count and its predictions."""
    number = HEAD_ONLY
    if proposal is not None:
        number = next(one.number for one in history.trials.values() if one.proposal == proposal)
        number = number if (of := history.trials[number].duplicate_of) is None else of
    trial = history.trials[number]
    if trial.state is not TrialState.FINISHED:
        return None
    what, scored = trial.configuration, history.scored[number, split]
    return {"words": what.words, "parameters": what.parameters, "packed": scored.packed}


def keep(asked: argparse.Namespace, searches: list[tuple[int, Planned, Named]]) -> Path:
    """Score everything on the report split, and write the task's table."""
    plan = searches[0][1].plan
    split, rows, controls, labels = next(iter(plan.counts.report)), {}, {}, ""
    for seed, planned, named in searches:
        history = score_all(planned, make_console())
        labels = history.labels[split]
        controls[str(seed)] = history.scored[None, split].packed
        look = partial(found, history, split=split)
        mine = {name: look(proposal) for name, proposal in named.items()}
        if HEAD_ONLY in history.trials:
            mine[HEAD] = look(None)
        for name, one in mine.items():
            if one is not None:
                rows.setdefault(name, {})[str(seed)] = one
    HERE.mkdir(exist_ok=True)
    file = HERE / f"{plan.task}.json"
    content = {"version": 1, "facts": facts_of(plan), "labels": labels, "controls": controls, "rows": rows}
    if file.exists():
        content = joined(json.loads(file.read_text(encoding="utf-8")), content, whole=set(asked.only) >= set(SEARCHES))
    content["facts"]["seeds"] = len(content["controls"])
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file


def facts_of(plan: SearchPlan) -> dict[str, Any]:
    """Return what the rows of all seeds have in common; only rows of the same facts are kept in one table."""
    return {
        "task": plan.task, "stand_in": plan.stand_in, "model": plan.model.name, "precision": plan.precision,
        "data_hash": plan.data.fingerprint, "train_rows": plan.counts.train, "split": next(iter(plan.counts.report)),
        "encoder_parameters": plan.encoder.parameters,
    }  # fmt: skip


def check_kept(plan: SearchPlan) -> None:
    """Raise UserError where the rows of a plan could not join what is kept of its task: known before any training."""
    file = HERE / f"{plan.task}.json"
    if file.exists():
        check_facts(json.loads(file.read_text(encoding="utf-8"))["facts"], facts_of(plan))


def check_facts(kept: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise UserError where what is kept was measured with other facts, with each of them."""
    differ = [f"{name} {kept.get(name)!r}, asked {value!r}" for name, value in new.items() if kept.get(name) != value]
    if differ:
        raise UserError(
            f"what is kept of {new['task']} has {'; '.join(differ)}: ask as then (docs/findings.md has the command), "
            f"or take {HERE.name}/{new['task']}.json away"
        )


def joined(kept: dict[str, Any], new: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return what is kept with new seeds and rows. A seed whose warm-up is another one than before (its control
    predicts otherwise, as on another processor) is replaced where all of its searches are there, and else refused, as
    are other facts or labels: UserError.
    """
    check_facts(kept["facts"], new["facts"])
    if kept["labels"] != new["labels"]:
        raise UserError("what is kept has another label: take it away, or ask as then")
    changed = {seed for seed, packed in new["controls"].items() if kept["controls"].get(seed, packed) != packed}
    if changed and not whole:
        raise UserError(f"seeds {', '.join(sorted(changed))}: another warm-up than what is kept; train all searches")
    rows = {}
    for name in [*kept["rows"], *(one for one in new["rows"] if one not in kept["rows"])]:
        before = {seed: row for seed, row in kept["rows"].get(name, {}).items() if seed not in changed}
        rows[name] = before | new["rows"].get(name, {})
    return {**new, "controls": kept["controls"] | new["controls"], "rows": rows}


def main() -> None:
    """Train and keep. Raises SystemExit with 2 where that is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--seeds", type=int, default=8, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(SEARCHES), default=list(SEARCHES), help="searches of a seed")
    parser.add_argument("--train-limit", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("runs/findings"))
    asked = parser.parse_args()
    try:
        searches = list(plans(asked))
        asked.output.mkdir(parents=True, exist_ok=True)
        train(searches)
        print(f"kept: {keep(asked, searches)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
