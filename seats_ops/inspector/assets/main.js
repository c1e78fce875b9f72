"use strict";
// Stages as steps, and what hands and keys do.
const at = (id) => document.getElementById(id);
const slider = at("step");

function showStep(step) {
  const shown = steps();
  view.step = Math.max(0, Math.min(step, shown.length));
  done = view.step ? shown[view.step - 1].done : [0, 0];
  slider.max = shown.length;
  slider.value = view.step;
  slider.setAttribute("aria-valuetext", view.step ? shown[view.step - 1].title : "the prompt");
  at("steps").replaceChildren(...["prompt", ...shown].map((stop, number) => {
    const button = element("button", number ? (stop.layer ? `after ${stop.layer}` : "before 1") : "prompt"), entry = element("li", null, button);
    button.type = "button";
    button.title = number ? stop.title : "all tokens";
    button.onclick = () => showStep(number);
    if (number === view.step) entry.setAttribute("aria-current", "step");
    return entry;
  }));
  at("said").textContent = sentence();
  showFacts();
  paintLegend();
  showComparison();
  showBudgets();
  showLayers();
  showToken();
  repaint();
}

function sentence() {
  if (view.run >= DIFFERENCE) {
    const [both, first, second] = overlap(done), where = view.step ? steps()[view.step - 1].title : "The prompt";
    return `${where}: ${count(both)} tokens in both, ${count(first)} only in ${DATA.runs[0].name}, ${count(second)} only in ${DATA.runs[1].name}.`;
  }
  const stages = DATA.runs[view.run].stages;
  if (!view.step) return `The prompt: ${count(TOTAL)} tokens.`;
  const stage = stages[view.step - 1], before = view.step > 1 ? stages[view.step - 2].counts : PROMPT_COUNTS;
  const left = KINDS.map((kind, n) => [kind, before[n] - stage.counts[n]]).filter(([, n]) => n).map(([kind, n]) => `${count(n)} ${kind}`);
  const there = KINDS.map((kind, n) => [kind, stage.counts[n], PROMPT_COUNTS[n]]).filter(([, , all]) => all)
    .map(([kind, n, all]) => `${count(n)} ${kind} (${beside(share(n, all), stage.asked[kind])})`);
  return `${stageName(stage)}: ${left.length ? `${left.join(" and ")} leave` : "nothing leaves"}; there are ${there.join(", ")}.`;
}

let playing = 0;
function play(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => showStep(view.step >= steps().length ? 0 : view.step + 1), 1100) : 0;
  at("play").textContent = on ? "Pause" : "Play";
  at("play").setAttribute("aria-pressed", String(on));
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  at("theme").textContent = name === "dark" ? "Light" : "Dark";
  readColors();
  paintLegend();
  repaint();
}

function tokenAt(canvas, event) {
  const x = event.offsetX, y = event.offsetY;
  if (canvas === prompt_) {
    const inside = (y % sheet.tall) - sheet.named;
    const i = Math.floor(inside / sheet.size) * sheet.columns + Math.floor(x / sheet.size);
    return inside >= 0 && x < sheet.columns * sheet.size && i < TOTAL ? i : -1;
  }
  return tokenIn(canvas === timeline ? boxes : stillBoxes, x, y);
}

for (const canvas of [timeline, prompt_, gallery]) {
  let pressed = null;
  canvas.addEventListener("pointerdown", (event) => { pressed = canvas === timeline ? [event.offsetX, view.from] : null; });
  canvas.addEventListener("pointerup", () => { pressed = null; });
  canvas.addEventListener("pointerleave", () => { pressed = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (pressed && event.buttons) {
      const span = view.to - view.from;
      show(pressed[1] - ((event.offsetX - pressed[0]) / canvas.clientWidth) * span, span);
      return;
    }
    const token = tokenAt(canvas, event);
    if (token >= 0 && token !== view.token) select(token);
  });
  canvas.addEventListener("click", (event) => {
    const token = tokenAt(canvas, event);
    if (token >= 0) select(token);
  });
}
timeline.addEventListener("wheel", (event) => {
  const span = view.to - view.from;
  if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, view.from + (event.offsetX / timeline.clientWidth) * span);
  else if (event.deltaX) show(view.from + (event.deltaX / timeline.clientWidth) * span, span);
  else return;
  event.preventDefault();
}, { passive: false });

// Which tokens a picture has.
function has(canvas, i) {
  const item = DATA.items[TOKENS.item[i]];
  return canvas === prompt_ || (item !== undefined && (canvas === gallery) === (item.modality === "image"));
}
// From token to token: along the prompt, or by a row of it (of the frame, where there is one).
function moved(canvas, key) {
  const grid = DATA.items[TOKENS.item[view.token]]?.grid, row = canvas === prompt_ ? sheet.columns : grid ? grid[2] : 1;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[key];
  if (step === undefined) return null;
  if (view.token < 0 || !has(canvas, view.token)) return TOKENS.column.findIndex((_, i) => has(canvas, i));
  let next = view.token + step;
  while (next >= 0 && next < TOTAL && !has(canvas, next)) next += Math.sign(step);
  return next >= 0 && next < TOTAL ? next : view.token;
}
function reach(token) {
  select(token);
  const time = timeOf(token);
  if (time < view.from || time >= view.to) show(time - (view.to - view.from) / 2, view.to - view.from);
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const inside = [timeline, prompt_, gallery].find((canvas) => canvas === document.activeElement);
  if (inside && event.key === "Escape") inside.blur();
  else if (inside && moved(inside, event.key) !== null) {
    reach(moved(inside, event.key));
  } else if (event.key === "+" || event.key === "=") zoom(1 / 1.5);
  else if (event.key === "-") zoom(1.5);
  else if (document.activeElement !== slider && document.activeElement !== at("scrub") && (event.key === "ArrowRight" || event.key === "ArrowLeft")) showStep(view.step + (event.key === "ArrowRight" ? 1 : -1));
  else if (event.key === " " && document.activeElement.tagName !== "BUTTON") play(!playing);
  else return;
  event.preventDefault();
});

slider.oninput = () => showStep(Number(slider.value));
at("play").onclick = () => play(!playing);
at("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
at("in").onclick = () => zoom(1 / 1.5);
at("out").onclick = () => zoom(1.5);
at("fit").onclick = () => show(0, DURATION);
at("scrub").oninput = () => show((at("scrub").value / 1000) * (DURATION - (view.to - view.from)), view.to - view.from);
new ResizeObserver(repaint).observe(document.body);

if (DATA.runs.length > 1) {
  const choose = [...DATA.runs.map((run) => run.name), "difference", "side by side"].map((name, number) => {
    const button = element("button", name);
    button.type = "button";
    button.onclick = () => {
      // Whatever is looked at, it stays the same layer.
      const layer = view.step ? steps()[view.step - 1].layer : -1;
      view.run = number;
      choose.forEach((each, n) => each.setAttribute("aria-pressed", String(n === number)));
      showStep(steps().filter((stop) => stop.layer <= layer).length);
    };
    return button;
  });
  choose[0].setAttribute("aria-pressed", "true");
  at("runs").append(...choose);
}
if (DATA.title) at("title").textContent = document.title = `What was kept of ${DATA.title}`;
at("summary").textContent = `${DATA.rows > 1 ? `Prompt ${DATA.row + 1} of ${DATA.rows}, ` : ""}${count(TOTAL)} tokens: ${KINDS.map((kind, n) => [kind, PROMPT_COUNTS[n]]).filter(([, n]) => n).map(([kind, n]) => `${count(n)} ${kind}`).join(", ")}`;
at("made").textContent = `seats_ops ${DATA.version}`;
at("time").hidden = !DURATION;
at("clock").textContent = DATA.clock && `Milliseconds: ${DATA.clock}.`;
painters.push(paintTimeline, paintGallery, paintPrompt);
theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
if (DURATION) show(0, DURATION);
showStep(0);
