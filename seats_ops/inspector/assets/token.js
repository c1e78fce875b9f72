"use strict";
// What is known of the token under the pointer or the cursor.
function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}
function table(head, rows, classes = []) {
  return element("table", null,
    element("thead", null, element("tr", null, ...head.map((text) => element("th", text)))),
    element("tbody", null, ...rows.map((cells, number) => {
      const row = element("tr", null, ...cells.map((text) => element("td", text)));
      row.className = classes[number] ?? "";
      return row;
    })));
}

// Rank among the tokens of its window and modality that were there, 1 is the most relevant; and how many they were.
function rankOf(run, stage, before, i) {
  let better = 0, all = 0;
  for (let j = 0; j < TOTAL; j++) {
    if (before && !before[j]) continue;
    if (run.window[j] !== run.window[i] || TOKENS.modality[j] !== TOKENS.modality[i]) continue;
    all++;
    if (stage.scores[j] > stage.scores[i] || (stage.scores[j] === stage.scores[i] && j < i)) better++;
  }
  return [better + 1, all];
}

function budgetOf(run, stage, i) {
  const kind = TOKENS.modality[i] - 1;
  return stage.budgets && run.window[i] >= 0 && kind >= 0 && kind < 2 ? stage.budgets[run.window[i]][kind] : null;
}

// How many stayed of those it stood among: its modality in its window where windows have budgets, in its block before the
// LLM, else in the whole prompt.
function stayedOf(run, stage, before, i) {
  const group = stage.budgets && run.window[i] >= 0 ? run.window : !stage.layer && run.block[i] >= 0 ? run.block : null;
  let left = 0, all = 0;
  for (let j = 0; j < TOTAL; j++) {
    if ((before && !before[j]) || TOKENS.modality[j] !== TOKENS.modality[i] || (group && group[j] !== group[i])) continue;
    all++;
    left += stage.left[j];
  }
  return `${count(left)} of ${count(all)}`;
}

// Layers that hold its keys, 1-based: all those a survivor is in; of others those that keep what they ran on.
function layersHolding(run, i) {
  const by = run.droppedBy[i], lengths = run.keys, held = [];
  if (!lengths.length) return null;
  if (!by) return `all ${lengths.length}`;
  const { layer: until, did } = run.stages[by - 1];
  for (let layer = 1; layer <= until; layer++) if (did?.includes("keys") || lengths[layer - 1] === run.layers.tokens[layer - 1]) held.push(layer);
  return held.length > 1 ? `${held[0]} to ${held.at(-1)}` : held.length ? "1" : "none";
}

function factsOf(i) {
  const kind = KINDS[TOKENS.modality[i]], item = DATA.items[TOKENS.item[i]], time = timeOf(i);
  const facts = [["column", count(TOKENS.column[i])], ["modality", kind + (i === QUERY ? ", the query" : "")]];
  if (item) facts.push([kind === "image" ? "picture" : kind, `${MEMBERS.slice(0, item.number + 1).filter((_, n) => DATA.items[n].modality === kind).length} of ${DATA.items.filter((each) => each.modality === kind).length}`]);
  if (!Number.isNaN(time)) facts.push(["time", `${time.toFixed(2)} s`]);
  if (item && item.grid) facts.push(["(t, h, w)", `(${TOKENS.t[i]}, ${TOKENS.h[i]}, ${TOKENS.w[i]})`]);
  return facts;
}

function fateOf(run, i) {
  const facts = [], by = run.droppedBy[i], keys = layersHolding(run, i);
  if (run.block[i] >= 0) facts.push(["block", count(run.block[i])]);
  if (run.window[i] >= 0) facts.push(["window", count(run.window[i])]);
  if (run.saliency && TOKENS.modality[i]) facts.push(["saliency", digits(run.saliency[i])]);
  facts.push(["dropped by", by ? stageName(run.stages[by - 1]) : "no stage"]);
  if (by && run.stages[by - 1].merge) facts.push(["merged into", run.wentOn[i] ? tokens(partners(run.stages[by - 1], i, "source").filter(([, value]) => value).length) : "no token"]);
  if (keys !== null) facts.push(["keys in layers", keys]);
  return facts;
}

function dropsOf(run, i) {
  const rows = [], classes = [];
  run.stages.forEach((stage, number) => {
    const before = number ? run.stages[number - 1].left : null;
    if (before && !before[i]) return;
    const [rank, all] = stage.scores ? rankOf(run, stage, before, i) : [null, null];
    const budget = budgetOf(run, stage, i);
    rows.push([stage.layer ? `after ${stage.layer}` : "before 1", stage.scores ? digits(stage.scores[i]) : "–", rank === null || run.window[i] < 0 ? "–" : `${count(rank)} of ${count(all)}`, budget === null ? "–" : count(budget), stayedOf(run, stage, before, i)]);
    classes.push(stage.left[i] ? "" : "gone");
  });
  if (!rows.length) return [];
  const note = element("p", "Rank, budget, stayed: of its modality, in its window; before layer 1 in its block; without either in the prompt.");
  note.className = "note";
  return [table(["drop", "relevance", "rank", "budget", "stayed"], rows, classes), note];
}

function showToken() {
  const box = document.getElementById("token"), i = view.token;
  if (i < 0) return;
  const pairs = (facts) => element("dl", null, ...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const close = element("button", "Close");
  close.type = "button";
  close.onclick = forget;
  const parts = [element("h2", `Token ${count(i)}`, close), pairs(factsOf(i))];
  for (const run of runsShown()) {
    if (DATA.runs.length > 1) parts.push(element("h3", run.name));
    parts.push(pairs(fateOf(run, i)), ...dropsOf(run, i), ...mergesOf(run, i));
  }
  box.classList.add("chosen");
  box.replaceChildren(...parts);
}

const UNCHOSEN = [...document.getElementById("token").children];
function forget() {
  view.token = -1;
  const box = document.getElementById("token");
  box.classList.remove("chosen");
  box.replaceChildren(...UNCHOSEN);
  repaint();
}
