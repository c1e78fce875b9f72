"use strict";
// What there is to show: the arrays of the page, and what follows from them for every token.
const DATA = JSON.parse(document.getElementById("data").textContent);
const KINDS = ["text", "video", "audio", "image"];
const TOTAL = DATA.total;

function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}
const integers = (text) => new Int32Array(bytesOf(text).buffer);
const numbers = (text) => (text === null ? null : new Float32Array(bytesOf(text).buffer));

const TOKENS = Object.fromEntries(Object.entries(DATA.tokens).map(([name, text]) => [name, integers(text)]));

for (const run of DATA.runs) {
  run.saliency = numbers(run.saliency);
  [run.block, run.window] = [integers(run.block), integers(run.window)];
  // The stage (from 1) that dropped a token, 0 if none did.
  run.droppedBy = new Uint8Array(TOTAL);
  run.stages.forEach((stage, number) => {
    stage.left = bytesOf(stage.left);
    stage.scores = numbers(stage.scores);
    for (let i = 0; i < TOTAL; i++) if (!stage.left[i] && !run.droppedBy[i]) run.droppedBy[i] = number + 1;
    stage.counts = countsOf(stage.left);
  });
}

function countsOf(left) {
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < TOTAL; i++) if (!left || left[i]) counts[TOKENS.modality[i]]++;
  return counts;
}
const PROMPT_COUNTS = countsOf(null);
// The last text token asks: what is relevant is what it attends to.
const QUERY = TOKENS.modality.lastIndexOf(0);

// Clips follow each other on one axis of time: the i-th video plays with the i-th sound.
const CLIPS = [];
{
  const seen = { video: 0, audio: 0 };
  DATA.items.forEach((item, number) => {
    item.number = number;
    if (!(item.modality in seen)) return;
    const place = seen[item.modality]++;
    item.step = item.seconds ?? 1;
    item.steps = item.grid ? item.grid[0] : item.num_tokens;
    item.clip = place;
    CLIPS[place] = Math.max(CLIPS[place] ?? 0, item.steps * item.step);
  });
}
const STARTS = CLIPS.map((_, clip) => CLIPS.slice(0, clip).reduce((sum, length) => sum + length, 0));
const DURATION = CLIPS.reduce((sum, length) => sum + length, 0);
const KNOWS_TIME = DATA.items.every((item) => item.modality !== "video" || item.seconds !== null);

// When a token begins, in seconds on that axis; NaN for text and pictures.
function timeOf(i) {
  const item = DATA.items[TOKENS.item[i]];
  return item && item.step ? STARTS[item.clip] + TOKENS.t[i] * item.step : NaN;
}

function stageName(stage) {
  return stage.layer ? `${stage.name} after layer ${stage.layer}` : `${stage.name} before the LLM`;
}
// What is left of a kind beside what was asked for, as far as that is known.
function beside(kept, asked) {
  return asked === undefined ? kept : `${kept}, asked ${share(asked, 1)}`;
}
// Share of a kind's tokens, mean of so many layers; the second number is what was asked for.
function meanOf(run, kind, layers) {
  let kept = 0, asked = 0;
  for (let layer = 1; layer <= layers; layer++) {
    const stage = run.stages.findLast((each) => each.layer < layer);
    kept += stage ? stage.counts[kind] / PROMPT_COUNTS[kind] : 1;
    asked += stage ? stage.asked[KINDS[kind]] : 1;
  }
  const known = run.stages.every((stage) => KINDS[kind] in stage.asked);
  return [kept / layers, known ? asked / layers : undefined];
}
const count = (value) => value.toLocaleString("en");
const share = (part, whole) => (whole ? `${(100 * part / whole).toFixed(1)} %` : "–");
const digits = (value) => (value === 0 ? "0" : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5 ? value.toExponential(3) : value.toPrecision(4));
