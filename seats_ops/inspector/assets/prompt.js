"use strict";
// All tokens in the order of the prompt, and pictures with their patches.
const prompt_ = document.getElementById("prompt"), gallery = document.getElementById("gallery");
const STILLS = DATA.items.filter((item) => item.modality === "image");
const sheet = { columns: 1, size: 6, tall: 0 };
const stillBoxes = [];

function paintPrompt() {
  const width = prompt_.clientWidth || prompt_.parentElement.clientWidth;
  sheet.size = TOTAL > 60000 ? 3 : TOTAL > 20000 ? 4 : TOTAL > 4000 ? 6 : TOTAL > 400 ? 9 : 14;
  sheet.columns = Math.max(1, Math.floor(width / sheet.size));
  const inner = sheet.size - (sheet.size > 4 ? 1 : 0);
  sheet.named = lanes().length > 1 ? NAME : 0;
  sheet.tall = sheet.named + Math.ceil(TOTAL / sheet.columns) * sheet.size + 16;
  const pen = kept(prompt_, lanes().length * sheet.tall, (base) => {
    for (view.lane of lanes()) {
      if (sheet.named) nameLane(base, view.lane * sheet.tall);
      if (sheet.size > 4) for (let i = 0; i < TOTAL; i++) cell(base, i, ...placeOf(i, view.lane), inner, inner);
      else dots(base);
      if (QUERY >= 0) markQuery(base, width, inner);
    }
  });
  if (view.token >= 0) for (const lane of lanes()) ring(pen, ...placeOf(view.token, lane), inner, inner);
}

function markQuery(pen, width, inner) {
  const [x, y] = placeOf(QUERY, view.lane), words = "query";
  pen.strokeStyle = pen.fillStyle = colors.accent;
  pen.lineWidth = 2;
  pen.strokeRect(x - 1, y - 1, inner + 2, inner + 2);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "top";
  pen.fillText(words, Math.max(0, Math.min(x, width - pen.measureText(words).width)), y + sheet.size + 2);
}

// A very long prompt: one dot a token, painted in one go, as dark as it is there.
function dots(pen) {
  const rows = Math.ceil(TOTAL / sheet.columns), small = document.createElement("canvas");
  // With room for a texture where some went into others.
  const fine = runsShown().some(merges) ? 2 : 1, wide = fine * sheet.columns;
  [small.width, small.height] = [wide, fine * rows];
  const inner = small.getContext("2d"), picture = inner.createImageData(wide, fine * rows);
  const parts = [...KINDS, "first", "second"].map((kind) => colors[kind].match(/[0-9a-f]{2}/g).map((pair) => parseInt(pair, 16)));
  for (let i = 0; i < TOTAL; i++) {
    const state = stateOf(i), only = state > 2 && state < 7;
    const colour = [...parts[only ? (rises(state) ? 4 : 5) : TOKENS.modality[i]], state === 0 || only ? 255 : isGone(state) ? 30 : 110];
    const first = fine * (Math.floor(i / sheet.columns) * wide + (i % sheet.columns));
    for (let place = 0; place < fine * fine; place++) {
      const [x, y] = [place % fine, Math.floor(place / fine)];
      // Checks: two of four are dark.
      picture.data.set(state > 6 && x === y ? [...colour.slice(0, 3), 2 * colour[3]] : colour, 4 * (first + y * wide + x));
    }
  }
  inner.putImageData(picture, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, ...placeOf(0, view.lane), sheet.columns * sheet.size, rows * sheet.size);
  pen.imageSmoothingEnabled = true;
}
const placeOf = (i, lane) => [(i % sheet.columns) * sheet.size, lane * sheet.tall + sheet.named + Math.floor(i / sheet.columns) * sheet.size];

function paintGallery() {
  document.getElementById("stills").hidden = !STILLS.length;
  if (!STILLS.length) return;
  const width = gallery.parentElement.clientWidth - 24, tall = 150, named = lanes().length > 1 ? NAME : 0;
  let x = 0, y = 0;
  const places = STILLS.map((item) => {
    const grid = item.grid ?? [1, 1, item.num_tokens], wide = Math.min(width, (tall * grid[2]) / grid[1]);
    if (x && x + wide > width) [x, y] = [0, y + tall + GAP];
    const place = { item, grid, x, y, wide, tall };
    x += wide + GAP;
    return place;
  });
  const lane = named + y + tall + 2, pen = sized(gallery, lanes().length * lane)[0];
  stillBoxes.length = 0;
  for (view.lane of lanes()) {
    if (named) nameLane(pen, view.lane * lane);
    for (const place of places) paintStill(pen, place, view.lane * lane + named);
  }
  drawStrokes(pen);
  rings(pen, stillBoxes);
}

function paintStill(pen, { item, grid, x: left, y, wide, tall }, above) {
  const top = above + y, image = item.picture ? imageOf(item.picture) : null, cw = wide / grid[2], ch = tall / grid[1];
  if (image) pen.drawImage(image, left, top, wide, tall);
  MEMBERS[item.number].forEach((token, place) => {
    const cx = left + (place % grid[2]) * cw, cy = top + Math.floor(place / grid[2]) * ch;
    if (image) patch(pen, stateOf(token), cx, cy, cw, ch);
    else cell(pen, token, cx, cy, cw - 0.6, ch - 0.6);
  });
  stillBoxes.push({ members: MEMBERS[item.number], first: 0, columns: grid[2], rows: grid[1], x: left, y: top, width: cw, height: ch });
}

function paintLegend() {
  const parts = KINDS.map((kind, number) => [kind, PROMPT_COUNTS[number]]).filter(([, n]) => n);
  document.getElementById("legend").replaceChildren(
    ...parts.map(([kind, n]) => {
      const span = document.createElement("span"), swatch = document.createElement("i");
      swatch.style.background = colors[kind];
      span.append(swatch, `${kind} ${count(n)}`);
      return span;
    }),
  );
  const states = document.getElementById("states");
  states.textContent = legends();
  if (view.run !== DIFFERENCE && runsShown().some(merges)) states.append(" · plus ", element("b", "+"), ": went into another token");
}

function legends() {
  const [a, b] = DATA.runs.map((run) => run.name);
  if (view.run < DIFFERENCE) return "full: there · stroke: leaves at this stage · pale: left earlier";
  const strokes = `stroke up /: only in ${a} · stroke down \\: only in ${b}`;
  return view.run === LANES ? `full: in both · full with a ${strokes} · pale: not in this one` : `full: in both · ${strokes} · pale: in neither`;
}
