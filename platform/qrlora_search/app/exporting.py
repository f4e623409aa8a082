"""A trial of a search as a folder that can be used without the search: native, a PEFT LoRA adapter, or merged."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from qrlora_search.adapters.peft_exchange.lora import head_weights, write_lora
from qrlora_search.app.adapted import EXPORT_FILE, NATIVE, Adapted, assemble
from qrlora_search.app.bases import (
    BASE,
    BASE_FILE,
    FACTORS_PREFIX,
    MODEL,
    check_base,
    factors_file,
    hash_file,
    read_base,
)
from qrlora_search.app.model_card import model_card
from qrlora_search.app.picking import find_finished, pick_member
from qrlora_search.app.reading import read_search
from qrlora_search.app.report_files import read_front
from qrlora_search.app.scoring import Weights
from qrlora_search.describe.configuration import Configuration, Matrix
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.method.bases import FACTORS_OF
from qrlora_search.method.machine import versions_here
from qrlora_search.method.subsets import Directions, has_subsets, keep_largest
from qrlora_search.record.confirmation import Scored
from qrlora_search.record.history import History, TrialHistory
from qrlora_search.values.errors import UserError
from qrlora_search.values.packing import unpack

Form = Literal["native", "lora", "merged"]
FORMS: tuple[Form, ...] = ("native", "lora", "merged")


@dataclass(frozen=True)
class ExportRequest:
    """What `export` was asked for."""

    output: Path
    to: Path
    form: str
    under: int | None = None
    trial: int | None = None
    with_base: bool = True
    pick: str | None = None
    keep: int | None = None


def export(request: ExportRequest) -> Path:
    """Writes the export and returns its folder. Raises UserError; then nothing was written."""
    if request.form not in FORMS:
        raise UserError(f"--as {request.form!r} is no form of export; use {', '.join(FORMS)}")
    _check_choice(request)
    history, plan = read_search(request.output, "OUTPUT")
    trial, kept = _chosen(request, history)
    if trial.configuration.whole and request.form != "merged":
        raise UserError(f"--as {request.form!r}: full fine-tuning has no adapter; use --as merged")
    base = request.output / BASE
    facts = _checked_base(base, trial.configuration)
    weights = Weights(request.output).path(trial.number)
    if not weights.is_file():
        raise UserError(
            f"OUTPUT {str(request.output)!r} has lost {weights.name}; search again, or export another trial"
        )
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"OUTPUT {str(request.output)!r}: {weights.name} cannot be read ({error}); search again, or export another "
            "trial"
        ) from None
    to = request.to.resolve()
    draft = _draft(to, str(request.to))
    try:
        configuration = trial.configuration
        if kept is not None:
            configuration, tensors = keep_largest(configuration, tensors, _directions(base, configuration), kept)
        content = _facts(request, history, _Exported(plan, trial, kept, configuration), facts)
        adapted = assemble(base, configuration, tensors, content)
        with _writing(str(request.to)):
            _write(request, adapted, tensors, draft, configuration)
            content["files"] = {one.name: hash_file(one) for one in sorted(draft.iterdir()) if one.is_file()}
            (draft / EXPORT_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            (draft / "README.md").write_text(model_card(content), encoding="utf-8")
            if to.is_dir():
                to.rmdir()
            draft.rename(to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return request.to


def _checked_base(base: Path, configuration: Configuration) -> dict[str, Any]:
    """Returns the facts of a search's base. Raises UserError where what is needed of it is not as it was made."""
    remedy = "it is kept once a search: search again, on another output"
    facts = read_base(base, remedy)
    needed = {how: facts["factors"][how] for how in _factors_needed("native", configuration)}
    check_base(base, {**facts, "factors": needed}, remedy)
    return facts


def _draft(to: Path, asked: str) -> Path:
    """Returns a new folder beside the one that is asked for, which must be new or empty. Raises UserError."""
    if to == Path.cwd().resolve():
        raise UserError(f"--to {asked!r} is the folder that this runs in; name a new folder in it")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"--to {asked!r} exists and is not empty; name another folder")
    draft = to.with_name(f".{to.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    with _writing(asked):
        draft.mkdir(parents=True)
    return draft


@contextmanager
def _writing(asked: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors says so of a disk that is full
        why = getattr(error, "strerror", None) or error
        raise UserError(f"--to {asked!r} cannot be written: {why}; name another folder") from None


@dataclass(frozen=True)
class _Exported:
    plan: SearchPlan
    trial: TrialHistory
    kept: int | None
    configuration: Configuration


def _check_choice(request: ExportRequest) -> None:
    """Raises UserError where options that choose the adapter contradict each other."""
    chosen = {"--under": request.under, "--trial": request.trial, "--pick": request.pick}
    given = [option for option, value in chosen.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other; give one of them")
    if request.keep is not None and request.trial is None:
        raise UserError(f"--keep {request.keep} needs --trial: name the trial whose largest coefficients are kept")


def _chosen(request: ExportRequest, history: History) -> tuple[TrialHistory, int | None]:
    """Returns the trial that is meant, and how many of its coefficients are kept; None for all."""
    if request.trial is not None:
        trial = find_finished(history, request.trial)
        size = trial.configuration.parameters
        if request.keep is not None and not has_subsets(trial.configuration):
            raise UserError(f"--keep {request.keep}: {trial.configuration.words} has no coefficients to choose from")
        if request.keep is not None and not 0 < request.keep < size:
            raise UserError(f"--keep {request.keep} is out of range: trial {trial.number} has {size} coefficients")
        return trial, request.keep
    if not (request.output / "front.json").is_file():
        raise UserError(
            f"OUTPUT {str(request.output)!r} has no front yet: the search has not ended; let it end, or "
            "name a Finished trial with --trial"
        )
    member = pick_member(read_front(request.output), request.pick or "best", request.under, str(request.output))
    return history.trials[member.trial], member.kept


def _directions(base: Path, configuration: Configuration) -> Callable[[int, Matrix], Directions]:
    """Returns what finds Q and Rt of a projection in the base's folder."""
    arrays = load_file(base / factors_file(FACTORS_OF[configuration.method]))
    return lambda layer, kind: (arrays[f"{layer}.{kind}.q"], arrays[f"{layer}.{kind}.rt"])


def _write(
    request: ExportRequest,
    adapted: Adapted,
    tensors: dict[str, NDArray[np.generic]],
    folder: Path,
    configuration: Configuration,
) -> None:
    base, family = request.output / BASE, str(adapted.config["model_type"])
    for file in sorted(base.iterdir()):
        if file.suffix != ".safetensors" and file.name not in {BASE_FILE, "config.json"}:
            shutil.copyfile(file, folder / file.name)
    if request.form == "merged":
        save_file(adapted.merged(), folder / MODEL, metadata={"format": "pt"})
        shutil.copyfile(base / "config.json", folder / "config.json")
        return
    if request.form == "native":
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / NATIVE)
    else:
        head: dict[str, NDArray[np.float32]] = {name: adapted.state[name] for name in head_weights(family)}
        write_lora(folder, family, adapted.factors, head, BASE)
    if request.with_base:
        (folder / BASE).mkdir()
        needed = {factors_file(how) for how in _factors_needed(request.form, configuration)}
        for file in sorted(base.iterdir()):
            if not file.name.startswith(FACTORS_PREFIX) or file.name in needed:
                shutil.copyfile(file, folder / BASE / file.name)  # whoever changes it there changes nothing here


def _factors_needed(form: str, configuration: Configuration) -> tuple[str, ...]:
    """Returns the factorisations that an export is put together from on its base: a native one's alone."""
    how = FACTORS_OF.get(configuration.method)
    return (how,) if form == "native" and how is not None else ()


def _scores(history: History, trial: int, kept: int | None, precision: str) -> dict[str, Any]:
    """Returns what the record knows of this very adapter, by split: in float32, but what a trial that is no member saw
    itself, which is in the precision that it was trained in.
    """
    newest = history.trials[trial].reports[-1]
    found: dict[str, Any] = {}
    for split, labels in history.labels.items():
        scored, seen = history.scored.get((trial, split)), "float32"
        if kept is not None:
            scored = history.confirmation.derived.get((trial, kept, split))
        elif scored is None and split == "selection":
            scored, seen = Scored(newest.metrics, newest.packed, newest.loss), precision
        if scored is not None:
            found[split] = {
                "precision": seen,
                "n": len(unpack(labels)),
                "metrics": scored.metrics,
                "packed": scored.packed,
            }
    return found


def _facts(request: ExportRequest, history: History, what: _Exported, base: dict[str, Any]) -> dict[str, Any]:
    plan, trial, configuration = what.plan, what.trial, what.configuration
    scores = _scores(history, trial.number, what.kept, str(plan.precision))
    factors = {how: base["factors"][how] for how in _factors_needed(request.form, configuration)}
    controls = {split: history.scored[None, split].metrics for split in scores if (None, split) in history.scored}
    return {
        "version": 1,
        "form": request.form,
        "task": plan.task,
        "stand_in": plan.stand_in,
        "trial": trial.number,
        "kept": what.kept,
        "method": configuration.method,
        "words": configuration.words,
        "configuration": configuration.to_json(),
        "parameters": configuration.parameters,
        "head_parameters": plan.encoder.head_parameters if configuration.head == "trained" else 0,
        "picked": request.trial is None,
        "selected_on": plan.space.selection.on,
        "warm_up_parameters": plan.encoder.parameters + plan.encoder.head_parameters,
        "labels": base["labels"],
        "max_length": base["max_length"],
        "base_inside": request.with_base,
        "base": {"weights": base["weights"], "factors": factors, "files": base.get("files", {})},
        "scores": scores,
        "control": controls,
        "provenance": {
            "search": history.search_id,
            "plan": plan.hash,
            "seed": plan.seed,
            "model": plan.model.model_dump(exclude={"path", "asked"}),
            "data": plan.data.model_dump(exclude={"path", "asked"}),
            "precision": plan.precision,
            "versions": history.versions,
            "exported_with": versions_here(),
        },
        "files": {},
    }
