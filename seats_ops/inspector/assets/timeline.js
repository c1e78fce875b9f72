"use strict";
// Frames above the sound on one axis of time.
const TOP = 20, SOUND = 64, STRIP = 16, GAP = 6, NAME = 20;
const timeline = document.getElementById("timeline");
const VIDEOS = DATA.items.filter((item) => item.modality === "video");
const SOUNDS = DATA.items.filter((item) => item.modality === "audio");
// Tokens of every item in order.
const MEMBERS = DATA.items.map(() => []);
for (let i = 0; i < TOTAL; i++) if (TOKENS.item[i] >= 0) MEMBERS[TOKENS.item[i]].push(i);

const xOf = (seconds, width) => ((seconds - view.from) / (view.to - view.from)) * width;

// How frames stand at this zoom: their height, and every how many-th temporal grid is shown.
function framing(item, width) {
  const [grids, rows, columns] = item.grid ?? [item.steps, 1, 1];
  const aspect = columns / rows, each = (width * item.step) / (view.to - view.from);
  const height = Math.max(72, Math.min(240, (each - 3) / aspect)), wide = height * aspect;
  return { grids, rows, columns, height, wide, stride: Math.max(1, Math.ceil((wide + 2.9) / each)) };
}

function paintTimeline() {
  if (!DURATION) return;
  const width = timeline.clientWidth || timeline.parentElement.clientWidth;
  const frames = VIDEOS.length ? Math.max(...VIDEOS.map((item) => framing(item, width).height)) : 0;
  const sound = SOUNDS.some((item) => item.sound) ? SOUND + GAP : 0;
  const strides = VIDEOS.map((item) => framing(item, width).stride);
  const named = lanes().length > 1 ? NAME : 0, lane = named + (frames ? frames + GAP : 0) + (SOUNDS.length ? sound + STRIP + GAP : 0);
  const pen = kept(timeline, TOP + lanes().length * lane, (base) => {
    boxes.length = 0;
    axis(base, width, lanes().length * lane);
    for (view.lane of lanes()) {
      const top = TOP + view.lane * lane;
      if (named) nameLane(base, top);
      for (const item of VIDEOS) paintVideo(base, item, width, top + named);
      for (const item of SOUNDS) paintSound(base, item, width, top + named + (frames ? frames + GAP : 0), sound);
    }
  });
  rings(pen, boxes);
  const stored = Math.max(1, ...DATA.items.map((item) => item.every ?? 1)), notes = [];
  if (Math.max(1, ...strides) > 1) notes.push(`At this zoom every ${ordinal(Math.max(...strides))} temporal grid is shown.`);
  if (stored > 1) notes.push(`The page holds the frame of every ${ordinal(stored)} grid; tokens are all there.`);
  if (SOUNDS.some((item) => (width * item.step) / (view.to - view.from) < 0.75)) notes.push("A bar of sound is as high as the share of its tokens that is there.");
  if (!KNOWS_TIME) notes.push("Nobody said how long a temporal grid lasts: it is drawn as one second.");
  document.getElementById("thinned").textContent = notes.join(" ");
}
const ordinal = (n) => `${n}${["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? "th"}`;
// Where tokens are painted now, for pointer and cursor: a box for a grid of them, or a row of equal ones.
const boxes = [];
const isIn = (box, x, y) => x >= box.x && x < box.x + box.columns * box.width && y >= box.y && y < box.y + box.rows * box.height;

function tokenIn(list, x, y) {
  const box = list.find((each) => isIn(each, x, y));
  if (!box) return -1;
  return box.members[box.first + Math.floor((y - box.y) / box.height) * box.columns + Math.floor((x - box.x) / box.width)] ?? -1;
}
function rings(pen, list) {
  for (const box of view.token < 0 ? [] : list) {
    const place = box.members.indexOf(view.token, box.first) - box.first;
    if (place < 0 || place >= box.columns * box.rows) continue;
    ring(pen, box.x + (place % box.columns) * box.width, box.y + Math.floor(place / box.columns) * box.height, box.width, box.height);
  }
}

function axis(pen, width, height) {
  const span = view.to - view.from;
  const unit = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200].find((u) => (u / span) * width > 56) ?? 3600;
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (let second = Math.ceil(view.from / unit) * unit; second <= view.to; second += unit) {
    const x = xOf(second, width);
    pen.fillStyle = colors.rule;
    pen.fillRect(x, TOP - 5, 1, height);
    pen.fillStyle = colors.muted;
    const label = second >= 120 ? `${Math.floor(second / 60)}:${String(Math.round(second % 60)).padStart(2, "0")}` : `${+second.toFixed(1)} s`;
    if (x + 3 <= width - 30) pen.fillText(label, x + 3, 8);
  }
}

function paintVideo(pen, item, width, top) {
  const f = framing(item, width), members = MEMBERS[item.number], start = STARTS[item.clip];
  const perGrid = f.rows * f.columns;
  for (let grid = 0; grid < f.grids; grid += f.stride) {
    const x = xOf(start + grid * item.step, width);
    if (x > width || x + f.wide < 0) continue;
    const image = item.frames ? imageOf(item.frames[Math.min(item.frames.length - 1, Math.floor(grid / item.every))]) : null;
    if (image) pen.drawImage(image, x, top, f.wide, f.height);
    const cw = f.wide / f.columns, ch = f.height / f.rows;
    for (let place = 0; place < perGrid; place++) {
      const token = members[grid * perGrid + place];
      const left = x + (place % f.columns) * cw, up = top + Math.floor(place / f.columns) * ch;
      if (image) patch(pen, stateOf(token), left, up, cw, ch);
      else cell(pen, token, left, up, cw - 0.6, ch - 0.6);
    }
    boxes.push({ members, first: grid * perGrid, columns: f.columns, rows: f.rows, x, y: top, width: cw, height: ch });
  }
}

function paintSound(pen, item, width, top, sound) {
  const start = STARTS[item.clip], members = MEMBERS[item.number];
  const image = item.sound ? imageOf(item.sound) : null;
  if (image) {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, xOf(start, width), top, xOf(start + item.played, width) - xOf(start, width), SOUND);
    pen.imageSmoothingEnabled = true;
  }
  const each = (width * item.step) / (view.to - view.from), stride = Math.max(1, Math.floor(1.5 / each));
  const first = Math.max(0, Math.floor((view.from - start) / item.step / stride) * stride);
  const last = Math.min(item.steps - 1, Math.ceil((view.to - start) / item.step));
  for (let place = first; place <= last; place += stride) {
    const x = xOf(start + place * item.step, width), wide = each * stride, token = members[place];
    if (stride > 1) paintShares(pen, members.slice(place, place + stride), image !== null, x, top, sound, wide);
    else {
      // The strip below says with strokes what leaves.
      if (image) veil(pen, stateOf(token), x, top, wide, SOUND);
      cell(pen, token, x, top + sound, wide - (wide > 3 ? 1 : 0), STRIP);
    }
  }
  boxes.push({ members, first: 0, columns: item.steps, rows: 1, x: xOf(start, width), y: top, width: each, height: sound + STRIP });
}

// Tokens narrower than a pixel: a bar as high as the share of them that is there, in the colour of the trace that alone has it.
function paintShares(pen, members, veiled, x, top, sound, wide) {
  const groups = [0, 0, 0];
  for (const token of members) {
    const state = stateOf(token);
    if (state !== 1 && state !== 7 && !isGone(state)) groups[state === 0 ? 0 : rises(state) ? 1 : 2]++;
  }
  let bottom = top + sound + STRIP;
  pen.globalAlpha = 0.12;
  pen.fillStyle = colorOf(members[0]);
  pen.fillRect(x, top + sound, wide, STRIP);
  pen.globalAlpha = 1;
  groups.forEach((number, group) => {
    const height = (STRIP * number) / members.length;
    pen.fillStyle = group ? colors[group === 1 ? "first" : "second"] : colorOf(members[0]);
    pen.fillRect(x, bottom -= height, wide, height);
  });
  if (!veiled) return;
  pen.globalAlpha = (0.84 * (bottom - top - sound)) / STRIP;
  pen.fillStyle = colors.paper;
  pen.fillRect(x, top, wide, SOUND);
  pen.globalAlpha = 1;
}

// Around the chosen token where it is in view, else around the middle.
function middle() {
  const time = view.token < 0 ? NaN : timeOf(view.token);
  return time >= view.from && time <= view.to ? time : (view.from + view.to) / 2;
}
function zoom(factor, around = middle()) {
  const span = Math.min(DURATION, Math.max(0.4, (view.to - view.from) * factor));
  show(around - ((around - view.from) / (view.to - view.from)) * span, span);
}
function show(from, span) {
  view.from = Math.max(0, Math.min(from, DURATION - span));
  view.to = view.from + span;
  const room = DURATION - span, scrub = document.getElementById("scrub");
  scrub.disabled = room < 1e-9;
  scrub.value = room > 1e-9 ? Math.round((1000 * view.from) / room) : 0;
  repaint();
}
