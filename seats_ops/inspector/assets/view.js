"use strict";
// What is looked at, and how a token is painted then.
const view = { step: 0, run: 0, lane: 0, token: -1, from: 0, to: DURATION || 1 };
// Views of two traces: what differs in one picture, or a lane for each.
const DIFFERENCE = 2, LANES = 3;
const runsShown = () => (view.run < DIFFERENCE ? [DATA.runs[view.run]] : DATA.runs);
const lanes = () => (view.run === LANES ? [0, 1] : [0]);
const painters = [];

function repaint() {
  cancelAnimationFrame(repaint.pending);
  repaint.pending = requestAnimationFrame(() => painters.forEach((paint) => paint()));
}

// Where one can stop: at every stage of a trace; of two traces after every layer where either drops.
function steps() {
  if (view.run < DIFFERENCE) {
    const { stages } = DATA.runs[view.run];
    return stages.map((stage, n) => ({ layer: stage.layer, title: stageName(stage), done: [n + 1, n + 1] }));
  }
  const layers = [...new Set(DATA.runs.flatMap((run) => run.stages.map((stage) => stage.layer)))].sort((a, b) => a - b);
  return layers.map((layer) => ({
    layer,
    title: layer ? `After layer ${layer}` : "Before the LLM",
    done: DATA.runs.map((run) => run.stages.filter((stage) => stage.layer <= layer).length),
  }));
}
// Stages of every trace that are done.
let done = [0, 0];
const isThere = (run, i, stages = done[run]) => !DATA.runs[run].droppedBy[i] || DATA.runs[run].droppedBy[i] > stages;

// 0 there, 1 leaves at this stage, 2 not there; 7 and 8 like 1 and 2, but it went into another token. Of two traces: 3 only
// in the first, 4 only in the second; in lanes 5 and 6.
const goneFrom = (run, i) => (DATA.runs[run].wentOn[i] ? 8 : 2);
const isGone = (state) => state === 2 || state === 8;
const isClear = (state) => state === 5 || state === 6;
function stateOf(i) {
  const { run } = view;
  if (run < DIFFERENCE) return isThere(run, i) ? 0 : goneFrom(run, i) - (DATA.runs[run].droppedBy[i] === done[run] ? 1 : 0);
  const first = isThere(0, i), second = isThere(1, i);
  if (first && second) return 0;
  if (view.run === DIFFERENCE) return first ? 3 : second ? 4 : 2;
  return (view.lane ? second : first) ? 5 + view.lane : goneFrom(view.lane, i);
}

const colors = {};
function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "ink", "muted", "rule", "accent", "text", "video", "audio", "image", "cursor", "first", "second"])
    colors[name] = style.getPropertyValue(`--${name}`).trim();
}
const colorOf = (i) => colors[KINDS[TOKENS.modality[i]]];

// A canvas as wide as its box, sharp on every screen; gives its context and width in CSS pixels.
function sized(canvas, height) {
  const width = canvas.clientWidth || canvas.parentElement.clientWidth, ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width];
}

// What does not follow the cursor is painted once and kept until something else changes.
let loaded = 0;
function kept(canvas, height, paint) {
  const [pen, width] = sized(canvas, height), ratio = window.devicePixelRatio || 1;
  const key = [view.step, view.run, view.from, view.to, colors.paper, width, height, ratio, loaded].join();
  canvas.base ??= document.createElement("canvas");
  if (canvas.key !== key) {
    canvas.key = key;
    [canvas.base.width, canvas.base.height] = [canvas.width, canvas.height];
    const below = canvas.base.getContext("2d");
    below.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint(below, width);
    drawStrokes(below);
  }
  pen.drawImage(canvas.base, 0, 0, width, height);
  return pen;
}

// Over what a token shows: nothing if it is there, else pale. Whole pixels: neighbours neither overlap nor leave a gap.
function veil(pen, state, x, y, width, height) {
  if (state === 0 || isClear(state)) return;
  const left = Math.round(x), top = Math.round(y);
  pen.globalAlpha = isGone(state) ? 0.84 : 0.55;
  pen.fillStyle = colors.paper;
  pen.fillRect(left, top, Math.round(x + width) - left, Math.round(y + height) - top);
  pen.globalAlpha = 1;
}
// A patch of a picture.
function patch(pen, state, x, y, width, height) {
  veil(pen, state, x, y, width, height);
  mark(state, x, y, width, height);
}

// Strokes tell states apart without colour: down for what leaves now or is only in the second, up for only in the first, a
// plus for what went into another token.
const rises = (state) => state === 3 || state === 5;
const STROKES = { 1: "accent", 3: "first", 5: "first", 4: "second", 6: "second", 7: "ink", 8: "muted" };
// They are gathered, as one path is drawn faster than thousands.
const strokes = {};
function mark(state, x, y, width, height) {
  if (state === 0 || state === 2 || width <= 2.5 || height <= 2.5) return;
  const path = (strokes[state] ??= new Path2D());
  if (state > 6) {
    const [middle, centre, arm] = [x + width / 2, y + height / 2, Math.min(width, height, 24) * 0.36];
    path.moveTo(middle - arm, centre);
    path.lineTo(middle + arm, centre);
    path.moveTo(middle, centre - arm);
    path.lineTo(middle, centre + arm);
    return;
  }
  path.moveTo(x + 0.5, rises(state) ? y + height - 0.5 : y + 0.5);
  path.lineTo(x + width - 0.5, rises(state) ? y + 0.5 : y + height - 0.5);
}
function drawStrokes(pen) {
  for (const state of Object.keys(strokes)) {
    // On clear pictures a stroke needs a light of its own.
    const clear = isClear(Number(state));
    if (clear) [pen.lineWidth, pen.strokeStyle] = [3.5, colors.paper];
    if (clear) pen.stroke(strokes[state]);
    pen.lineWidth = clear ? 2 : state === "7" ? 1.5 : 1;
    pen.strokeStyle = colors[STROKES[state]];
    pen.stroke(strokes[state]);
    delete strokes[state];
  }
}

// A token without a picture.
function cell(pen, i, x, y, width, height) {
  const state = stateOf(i);
  pen.globalAlpha = state === 0 || isClear(state) ? 1 : isGone(state) ? 0.12 : 0.35;
  pen.fillStyle = colorOf(i);
  // Too narrow for a stroke: the upper half is the first trace's, the lower one the second's; a third went into others.
  const part = width > 2.5 || state < 3 ? height : state > 6 ? height / 3 : height / 2;
  pen.fillRect(x, y + (part === height || rises(state) ? 0 : part), width, part);
  pen.globalAlpha = 1;
  if (state !== 0) mark(state, x, y, width, height);
}

// Whose lane begins here, with the stroke of what only it keeps.
function nameLane(pen, top) {
  const run = DATA.runs[view.lane];
  mark(view.lane ? 6 : 5, 1, top + 4, 10, 10);
  drawStrokes(pen);
  pen.fillStyle = colors.ink;
  pen.font = "600 12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.fillText(run.name, 18, top + 9);
}

function ring(pen, x, y, width, height) {
  pen.strokeStyle = colors.paper;
  pen.lineWidth = 4;
  pen.strokeRect(x - 1, y - 1, width + 2, height + 2);
  pen.strokeStyle = colors.cursor;
  pen.lineWidth = 2;
  pen.strokeRect(x - 1, y - 1, width + 2, height + 2);
}

const IMAGES = new Map();
function imageOf(uri) {
  if (!IMAGES.has(uri)) {
    const image = new Image();
    image.onload = () => {
      loaded++;
      repaint();
    };
    image.src = uri;
    IMAGES.set(uri, image);
  }
  const image = IMAGES.get(uri);
  return image.complete && image.naturalWidth ? image : null;
}

function select(token) {
  view.token = token;
  showToken();
  repaint();
}
