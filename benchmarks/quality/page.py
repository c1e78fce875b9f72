"""docs/quality.md from results: every number on it, sentences with numbers included, is made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality import axes, gate_tables, knobs, losses, positions, tables, versus
from benchmarks.quality.costs import Costs
from benchmarks.quality.examine import BATCH
from benchmarks.quality.formats import percent
from benchmarks.quality.gate_tables import Passed
from benchmarks.quality.groups import AS_PUBLISHED, BASELINES, GROUPS, OWN
from benchmarks.quality.outcomes import Cost, Results
from benchmarks.quality.plan import CLOSE, OTHER_RETENTION, RETENTIONS
from benchmarks.quality.run import FULL_KEY
from benchmarks.quality.steps import COMMITTED, ITEMS, Place, named
from benchmarks.quality.tasks import TASKS
from benchmarks.quality.thinker import new_thinker
from benchmarks.quality.vocabulary import Question
from benchmarks.report.marks import replaced
from benchmarks.report.numbers import table

Part = Callable[["Read"], list[str]]
DOCS = Path(__file__).parents[2] / "docs"


def at(retention: float) -> Cost:
    return Cost("layer-average", retention)


@dataclass(frozen=True)
class Read:
    """All that the page is made of."""

    results: Results
    costs: Costs
    passed: dict[str, Passed]

    @property
    def asked(self) -> list[Cost]:
        """Layer averages that were asked."""
        return [at(retention) for retention in RETENTIONS if self.results.names(at(retention))]

    @property
    def close(self) -> list[Cost]:
        return [cost for cost in self.asked if cost.retention in CLOSE]


def read(place: Place) -> Read:
    """Raises ValueError: files are missing, or of another revision."""
    packed = place.results / f"{ITEMS}.gz"
    if not packed.exists():
        raise ValueError(f"{packed}: expected results, got none; python -m benchmarks quality evaluate")
    results = Results(packed)
    passed = gate_tables.read_all(results.models, place.results, place.models)
    return Read(results, Costs(place.results, results.revision), passed)


def _each(costs: Sequence[Cost], make: Callable[[Cost], Sequence[str]]) -> list[str]:
    lines: list[str] = []
    for cost in costs:
        lines += [f"**R = {percent(cost.retention, 0)} %**", "", *make(cost), ""]
    return lines[:-1]


def facts(read: Read) -> list[str]:
    results = read.results
    items = [sum(len(results.chunks(model, one.name, FULL_KEY)) for model in results.models) * BATCH for one in TASKS]
    each = f"{min(items):,}" if min(items) == max(items) else f"{min(items):,} to {max(items):,}"
    contenders = dict.fromkeys(name for cost in read.asked for name in results.names(cost))
    rows = [_model(name, digest) for name, digest in results.revision["models"].items()]
    return [
        f"{len(results.models)} models, {len(TASKS)} tasks and {len(results.tasks) - len(TASKS)} more on curves, "
        f"{each} items of each task over all models, {len(contenders)} contenders, "
        f"{results.prompts:,} prompts answered.",
        "",
        table(["model", "layers", "width", "parameters", "answers taught at layer", "seed", "weights"], rows),
        "",
        f"Revision: rules {results.revision['rules']}, questions {results.revision['questions']}.",
    ]


def _model(name: str, digest: str) -> list[Any]:
    size, seed = named(name)
    parameters = sum(one.numel() for one in new_thinker(size, seed).parameters())
    taught = f"{size.taught_layer} and {size.layers}" if size.taught_layer else size.layers
    return [name, size.layers, size.width, f"{parameters:,}", taught, seed, digest]


def task_list(_: Read) -> list[str]:
    group = {task: name for name, tasks in GROUPS.items() for task in tasks}
    rows = [[one.name, group[one.name], _question(one.kind), percent(one.kind.chance), one.claim] for one in TASKS]
    return [table(["task", "what must be there", "asked", "chance, %", "what it isolates"], rows)]


def _question(kind: Question) -> str:
    return kind.name.lower().replace("_", " ")


def main(read: Read) -> list[str]:
    def one(cost: Cost) -> list[str]:
        return [tables.accuracies(read.results, cost, GROUPS), "", tables.draws(read.results, cost, GROUPS)]

    return _each(read.asked, one)


def tasks(read: Read) -> list[str]:
    columns = tables.by_task(read.results)

    def one(cost: Cost) -> list[str]:
        said = tables.accuracies(read.results, cost, columns, reached=True)
        return [said, "", tables.draws(read.results, cost, columns)]

    return _each(read.asked, one)


def models(read: Read) -> list[str]:
    names = [OWN, AS_PUBLISHED, versus.RIVAL, "divprune-om", *BASELINES]
    return _each(read.close, lambda cost: [tables.models(read.results, cost, names)])


def omnipack(read: Read) -> list[str]:
    lines = versus.tally(read.results, versus.RIVAL, OWN, read.asked)
    for own in (OWN, AS_PUBLISHED):
        lines += ["", versus.pair(read.results, versus.RIVAL, own, read.asked)]
    return lines


def against(read: Read, costs: Sequence[Cost]) -> list[str]:
    return _each(costs, lambda cost: [versus.against(read.results, cost)])


def changed(read: Read, names_of: Callable[[Results, Cost], list[str]]) -> list[str]:
    return _each(read.close, lambda cost: [knobs.changed(read.results, names_of(read.results, cost), cost)])


PICTURES = {
    "flops": "Accuracy against executed FLOPs",
    "knock-out": "Answers that stay when all media leave after a layer",
    "position": "Wrong answers by position",
}


def picture(name: str) -> Part:
    """A link to what `pictures` draws."""
    return lambda _: [f"![{PICTURES[name]}](images/quality-{name}.png)"]


STORY: dict[str, Part] = {
    "facts": facts,
    "tasks": task_list,
    "gates": lambda read: [gate_tables.gate_table(read.passed), "", *gate_tables.failed(read.passed)],
    "unpublished": lambda read: gate_tables.unpublished(read.results) or ["Every model knows every task well enough."],
    "layers": lambda read: [gate_tables.layer_table(read.passed)],
    "main": main,
    "kept": lambda read: _each(read.close, lambda cost: [tables.kept(read.results, cost)]),
    "axes": lambda read: [axes.side_by_side(read.results, read.costs)],
    "against": lambda read: against(read, read.close),
    "omnipack": omnipack,
    "losses": lambda read: losses.lost(read.results, read.asked),
    "lossless": lambda read: [versus.equivalent(read.results, read.asked)],
    "least": lambda read: [versus.least_flops(read.results, read.costs, read.asked)],
    "knobs": lambda read: knobs.ranking(read.results, read.close, knobs.knobs_of),
    "faults": lambda read: knobs.ranking(read.results, read.close, knobs.faults_of),
    "positions": lambda read: [positions.positions(read.results, at(OTHER_RETENTION))],
    "sizes": lambda read: [positions.needle_sizes(read.results, read.close)],
    **{name: picture(name) for name in PICTURES},
}
TABLES: dict[str, Part] = {
    "by task": tasks,
    "by model": models,
    "against at more": lambda read: against(read, [cost for cost in read.asked if cost not in read.close]),
    "ablations": lambda read: changed(read, knobs.knobs_of),
    "planted": lambda read: changed(read, knobs.faults_of),
    "curves": lambda read: "\n\n".join(axes.curve_tables(read.results)).splitlines(),
}
PAGES = {DOCS / "quality.md": STORY, DOCS / "quality_tables.md": TABLES}


def made(read: Read, page: Path) -> str:
    """One of PAGES as it should be. Raises ValueError: a mark is missing."""
    return replaced(page.read_text(encoding="utf-8"), {name: make(read) for name, make in PAGES[page].items()})


def write(folder: Path) -> Path:
    """The pages of the results in a folder: those of the docs for the committed ones, else some in the folder."""
    from benchmarks.quality.pictures import draw_all

    place = Place(folder)
    found = read(place)
    target = DOCS if folder.resolve() == COMMITTED.folder.resolve() else folder
    texts = {page.name: made(found, page) for page in PAGES}
    draw_all(found.results, found.costs, found.passed, target / "images")
    for name, text in texts.items():
        (target / name).write_text(text, encoding="utf-8")
    return target / next(iter(texts))
