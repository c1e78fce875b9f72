"use strict";
// What is looked at, and how a token is painted then.
const view = { step: 0, run: 0, token: -1, from: 0, to: DURATION || 1 };
const painters = [];

function repaint() {
  cancelAnimationFrame(repaint.pending);
  repaint.pending = requestAnimationFrame(() => painters.forEach((paint) => paint()));
}

// 0 there, 1 leaves at this stage, 2 left earlier. Of two traces (run 2): 3 only in the first, 4 only in the second.
function stateOf(i) {
  if (view.run === 2) {
    const [a, b] = DATA.runs.map((run) => stateIn(run, i) === 0);
    return a && b ? 0 : a ? 3 : b ? 4 : 2;
  }
  return stateIn(DATA.runs[view.run], i);
}
function stateIn(run, i) {
  const by = run.droppedBy[i], step = Math.min(view.step, run.stages.length);
  return !by || by > step ? 0 : by === step ? 1 : 2;
}

const colors = {};
function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "muted", "rule", "accent", "text", "video", "audio", "image", "cursor"])
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

// Over what a token shows: nothing if it is there, else pale; what leaves now has a stroke through it.
function veil(pen, state, x, y, width, height) {
  if (state === 0) return;
  pen.globalAlpha = state === 2 ? 0.84 : 0.55;
  pen.fillStyle = colors.paper;
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = 1;
  mark(state, x, y, width, height);
}

// Strokes tell states apart without colour: down for what leaves now or is only in the second, up for only in the first.
// They are gathered, as one path is drawn faster than thousands.
const strokes = {};
function mark(state, x, y, width, height) {
  if (state === 0 || state === 2 || width <= 2.5 || height <= 2.5) return;
  const path = (strokes[state] ??= new Path2D());
  path.moveTo(x + 0.5, state === 3 ? y + height - 0.5 : y + 0.5);
  path.lineTo(x + width - 0.5, state === 3 ? y + 0.5 : y + height - 0.5);
}
function drawStrokes(pen) {
  pen.lineWidth = 1;
  for (const state of Object.keys(strokes)) {
    pen.strokeStyle = colors[{ 1: "accent", 3: "video", 4: "audio" }[state]];
    pen.stroke(strokes[state]);
    delete strokes[state];
  }
}

// A token without a picture.
function cell(pen, i, x, y, width, height) {
  const state = stateOf(i);
  pen.globalAlpha = state === 0 ? 1 : state === 2 ? 0.12 : 0.35;
  pen.fillStyle = colorOf(i);
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = 1;
  if (state !== 0) mark(state, x, y, width, height);
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
