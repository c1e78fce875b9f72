"""A schedule of my own, on a small random model and a clip of five seconds."""

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner
from seats_ops.cli.clip import bundled_clip, load_clip
from seats_ops.cli.inputs import own_inputs
from seats_ops.cli.model import demo_config, random_model
from seats_ops.cli.report import media_of
from seats_ops.integrations import attach

schedule = Schedule(
    before_llm=DiversitySelector({"video": 0.3}),  # audio enters whole
    after_layer={
        8: StagePruner({"audio": 0.5}),
        16: StagePruner(0.4),
        23: ModalityDropper(("video", "audio")),
    },
)
print(schedule, end="\n\n")

model = random_model(demo_config())
clip = load_clip(bundled_clip())
inputs = own_inputs(clip, "What happens, and what do you hear?", model.config, frame_tokens=64)
with attach(model, schedule, record="scores") as trace:
    model.generate(**inputs, max_new_tokens=4, do_sample=False)

print(trace.summary(), end="\n\n")
trace.save("trace.json")
page = trace.to_html("page.html", media_of(clip, inputs, model.config), config=model.config)
print(f"Open {page.absolute()} in a browser.")
