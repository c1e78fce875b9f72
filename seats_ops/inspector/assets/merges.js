"use strict";
// Kept tokens that are sums of tokens, and which tokens went into them.
const LARGEST = 8;

for (const run of DATA.runs) {
  // 1 where the stage that dropped a token put it into another one.
  run.wentOn = new Uint8Array(TOTAL);
  run.stages.forEach((stage, number) => {
    if (!stage.merge) return;
    const { target, source, coefficient } = stage.merge;
    stage.merge = { target: integers(target), source: integers(source), coefficient: numbers(coefficient) };
    stage.merge.source.forEach((i, n) => {
      if (stage.merge.coefficient[n] && stage.merge.target[n] !== i && run.droppedBy[i] === number + 1) run.wentOn[i] = 1;
    });
  });
}
const merges = (run) => run.stages.some((stage) => stage.merge);

// Token and coefficient, the largest first, over the entries that have token i at this end.
function partners({ merge }, i, end) {
  const other = merge[end === "source" ? "target" : "source"], found = new Map();
  merge[end].forEach((each, n) => {
    if (each === i) found.set(other[n], (found.get(other[n]) ?? 0) + merge.coefficient[n]);
  });
  return [...found].sort(([a, first], [b, second]) => Math.abs(second) - Math.abs(first) || a - b);
}

function rowSums({ merge }) {
  const sums = new Map();
  merge.target.forEach((i, n) => sums.set(i, (sums.get(i) ?? 0) + merge.coefficient[n]));
  return sums;
}
// Coefficients are float32: what is below their last digits is noise.
const weight = (value) => (Math.abs(value) < 1e-6 ? "0" : digits(value));
const range = ([low, high]) => (low === high ? low : `${low} to ${high}`);
const tokens = (n) => `${count(n)} token${n === 1 ? "" : "s"}`;

// What a stage did besides dropping, in words.
function stageFacts(run, stage) {
  const said = [], number = run.stages.indexOf(stage) + 1;
  if (stage.merge) {
    let went = 0, thrown = 0;
    run.droppedBy.forEach((by, i) => {
      if (by === number) run.wentOn[i] ? went++ : thrown++;
    });
    const sums = [...rowSums(stage).values()], ends = sums.length ? [Math.min(...sums), Math.max(...sums)] : [0, 0];
    said.push(`${count(sums.length)} kept token${sums.length === 1 ? " is a sum" : "s are sums"}, whose coefficients add up to ${range(ends.map(weight))}`);
    said.push(`of those that leave ${count(went)} went into others, ${count(thrown)} into none`);
  }
  if (stage.multiplicity) said.push(`a kept token stands for ${range(stage.multiplicity.map((n) => (Number.isInteger(n) ? count(n) : digits(n))))}`);
  const did = {
    order: "tokens go on in another order",
    positions: "positions are counted anew",
    keys: "earlier layers go on holding keys of what leaves",
    values: "kept tokens get values that the trace does not hold",
  };
  return [...said, ...(stage.did ?? []).map((name) => did[name])].join("; ");
}

function showFacts() {
  const stop = view.step ? steps()[view.step - 1] : null, lines = [];
  for (const run of stop ? runsShown() : []) {
    const stages = view.run < DIFFERENCE ? [run.stages[view.step - 1]] : run.stages.filter((stage) => stage.layer === stop.layer);
    for (const stage of stages) {
      const said = stageFacts(run, stage);
      if (said) lines.push(view.run < DIFFERENCE ? `${said[0].toUpperCase()}${said.slice(1)}.` : `${run.name}, ${stage.name}: ${said}.`);
    }
  }
  document.getElementById("facts").textContent = lines.join(" ");
}

function partnerTable(rows, own) {
  const made = table(["column", "modality", "time", "(t, h, w)", "coefficient"], rows.map(([i, value]) => {
    const item = DATA.items[TOKENS.item[i]], time = timeOf(i);
    const place = item && item.grid ? `(${TOKENS.t[i]}, ${TOKENS.h[i]}, ${TOKENS.w[i]})` : "–";
    return ["", i === own ? "itself" : KINDS[TOKENS.modality[i]], Number.isNaN(time) ? "–" : `${time.toFixed(2)} s`, place, weight(value)];
  }));
  made.querySelectorAll("tbody tr").forEach((row, number) => {
    const [i] = rows[number], button = element("button", count(TOKENS.column[i]));
    button.type = "button";
    button.title = i === own ? "this token" : `go to token ${count(i)}`;
    button.disabled = i === own;
    button.onclick = () => {
      reach(i);
      // The button is gone: who came by keyboard goes on from what is said of the other token.
      document.getElementById("token").focus({ preventScroll: true });
    };
    row.firstChild.append(button);
  });
  made.classList.add("partners");
  return made;
}

// At every stage that merges: what a token went into, and what it is a sum of.
function mergesOf(run, i) {
  const parts = [];
  run.stages.forEach((stage, number) => {
    if (!stage.merge || (number && !run.stages[number - 1].left[i])) return;
    const into = partners(stage, i, "source").filter(([j, value]) => j !== i && value), from = partners(stage, i, "target");
    const list = (title, rows) => {
      parts.push(element("h4", `${stageName(stage)}: ${title}`), partnerTable(rows.slice(0, LARGEST), i));
      if (rows.length <= LARGEST) return;
      const note = element("p", `and ${count(rows.length - LARGEST)} more`);
      note.className = "note";
      parts.push(note);
    };
    if (into.length) list(`${stage.left[i] ? "stays, and is part of" : "went into"} ${tokens(into.length)}`, into);
    if (!from.length) return;
    const own = from.find(([j]) => j === i) ?? [i, 0], others = from.filter(([j]) => j !== i);
    const sum = from.reduce((all, [, value]) => all + value, 0);
    list(`a sum of ${own[1] ? "itself and " : ""}${tokens(others.length)}, coefficients add up to ${weight(sum)}`, [own, ...others]);
  });
  return parts;
}
