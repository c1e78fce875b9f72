"""What a clip shows is what its facts say, and a prompt's needles are where it shows it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.quality import vocabulary as v
from benchmarks.quality.lessons import VARIATIONS
from benchmarks.quality.prompts import ask, kinds_of, media_ids, num_subjects
from benchmarks.quality.render import COLOURS, GLYPHS, TONES, Clips, draw_clips
from benchmarks.quality.scenes import SHARES, Scene
from benchmarks.quality.thinker import CELLS, MERGE, PATCH, SOUND, TEMPORAL_PATCH
from benchmarks.quality.vocabulary import Question

CLIPS = 16


def drawn(**settings: object) -> Clips:
    return draw_clips(Scene(**{"windows": 4, **settings}), CLIPS, torch.Generator().manual_seed(7))


def image_of(clips: Clips, row: int, token: int) -> torch.Tensor:
    """[3, 8, 8] of a video token, put together from its patches, mean over its two frames."""
    patches = clips.pixels[row, token * MERGE**2 : (token + 1) * MERGE**2]
    grid = patches.view(MERGE, MERGE, 3, TEMPORAL_PATCH, PATCH, PATCH).mean(3)
    return torch.cat([torch.cat(list(line), 2) for line in grid], 1)


def nearest_symbol(image: torch.Tensor) -> int:
    bits = (image.amax(0) > 0.5 * image.max()).float()
    return int((GLYPHS - bits).abs().sum((1, 2)).argmin())


@pytest.mark.parametrize("settings", [{"tokens": 1}, {"tokens": 2}, {"tokens": 4}, {"objects": 3}, {"sinks": True}])
def test_objects_are_seen_where_the_facts_say(settings: dict[str, object]) -> None:
    clips = drawn(**settings)
    facts = clips.facts
    for row in range(4):
        for which in range(facts.symbol.shape[1]):
            for token in facts.object_tokens[row, which].tolist():
                image = image_of(clips, row, token)
                assert nearest_symbol(image) == facts.symbol[row, which]
                colour = (image * GLYPHS[facts.symbol[row, which]]).sum((1, 2))
                assert torch.equal((colour > 0.5 * colour.max()).float(), COLOURS[facts.colour[row, which]])


def test_an_object_takes_as_many_tokens_as_it_should() -> None:
    for tokens in (1, 2, 4):
        facts = drawn(tokens=tokens).facts
        assert {len(set(one)) for row in facts.object_tokens.tolist() for one in row} == {tokens}
        window = facts.object_tokens // (2 * CELLS)
        assert torch.equal(window, torch.arange(4)[None, :, None].expand_as(window))


def test_tones_are_heard_where_the_facts_say() -> None:
    clips = drawn()
    facts = clips.facts
    spectrum = clips.mel[:, v.NUM_TIMBRES :].unflatten(2, (-1, 4)).mean(3)
    for row in range(CLIPS):
        for which in range(4):
            heard = spectrum[row, :, facts.tone_tokens[row, which]].mean(1)
            assert int((TONES - (heard > 0.5).float()).abs().sum(1).argmin()) == facts.tone[row, which]
            assert (facts.tone_tokens[row, which] // SOUND == which).all()


def test_symbols_and_tones_name_one_thing_each() -> None:
    facts = drawn(objects=3).facts
    for names in (facts.symbol, facts.tone):
        assert all(len(set(row)) == len(row) for row in names.tolist())


@pytest.mark.parametrize("redundancy", [0.0, 0.5, 0.95, 1.0])
def test_backgrounds_repeat_as_often_as_asked(redundancy: float) -> None:
    facts = drawn(redundancy=redundancy).facts
    repeated = (facts.fresh[:, 1:] != torch.arange(1, 8)[:, None]).float().mean()
    assert abs(float(repeated) - redundancy) < 0.06


@pytest.mark.parametrize("redundancy", [0.0, 0.95])
def test_marks_cover_the_share_that_is_the_answer(redundancy: float) -> None:
    facts = drawn(redundancy=redundancy).facts
    background = ~facts.clutter & ~facts.sink
    background.flatten(1).scatter_(1, facts.object_tokens.flatten(1), value=False)
    share = facts.marked.sum((1, 2)) / background.sum((1, 2))
    middle = torch.tensor([0.235, 0.5, 0.765])
    assert torch.equal(torch.bucketize(share, middle), facts.share)
    assert (share - torch.tensor(SHARES)[facts.share]).abs().max() < 0.02


@pytest.mark.parametrize("settings", VARIATIONS, ids=str)
def test_questions_are_answered_by_what_is_shown(settings: dict[str, object]) -> None:
    clips = drawn(**settings)
    facts, scene = clips.facts, clips.scene
    columns = media_ids(scene.windows).tolist()
    media = {name: [i for i, one in enumerate(columns) if one == name] for name in (v.VIDEO, v.AUDIO)}
    seen_at = {int(t): (w, s) for w, s in _seen(clips)[0] for t in facts.object_tokens[0, s].tolist()}
    for kind in kinds_of(scene):
        for subject in range(num_subjects(kind, scene)):
            asked = ask(clips, kind, torch.full((CLIPS,), subject))
            argument, answer = int(asked.argument[0]), int(asked.answer[0])
            needles = {int(one) for one in asked.needles[0].flatten() if one >= 0}
            objects = {seen_at[media[v.VIDEO].index(one)][1] for one in needles & set(media[v.VIDEO])}
            symbols, tones = facts.symbol[0].tolist(), facts.tone[0].tolist()
            if kind is Question.COLOUR_OF:
                assert objects == {symbols.index(argument - v.SYMBOL)}
                assert answer - v.COLOUR == facts.colour[0, objects.pop()]
            elif kind is Question.SEEN_NEXT:
                first, second = symbols.index(argument - v.SYMBOL), symbols.index(answer - v.SYMBOL)
                assert objects == {first, second} and second == first + 1
            elif kind in (Question.SEEN_WITH, Question.HEARD_WITH):
                symbol, tone = (answer, argument) if kind is Question.SEEN_WITH else (argument, answer)
                shown = scene.shown[symbols.index(symbol - v.SYMBOL) // scene.objects]
                assert scene.played[tones.index(tone - v.TONE)] - shown == int(scene.apart)
                assert objects == {symbols.index(symbol - v.SYMBOL)}
                assert needles & set(media[v.AUDIO])
            elif kind is Question.GIST_OF:
                assert answer - v.GIST == facts.gist[0] and not needles


def _seen(clips: Clips) -> list[list[tuple[int, int]]]:
    scene = clips.scene
    return [[(window, i * scene.objects + j) for i, window in enumerate(scene.shown) for j in range(scene.objects)]]


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"tokens": 3}, "tokens: expected 1, 2 or 4, got 3"),
        ({"objects": 5, "tokens": 4}, "objects: expected some for which 8 cells are enough, got 5"),
        ({"windows": 25}, "windows: expected 2 or more"),
        ({"windows": 24, "objects": 2}, "windows: expected 2 or more of which 24 distinct objects are enough"),
    ],
)
def test_scenes_that_cannot_be_drawn_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Scene(**settings)
