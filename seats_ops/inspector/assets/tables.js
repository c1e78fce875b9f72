"use strict";
// Tokens in both traces, only in the first, only in the second, when these stages are done.
function overlap(stages) {
  const groups = [0, 0, 0];
  for (let i = 0; i < TOTAL; i++) {
    const first = isThere(0, i, stages[0]), second = isThere(1, i, stages[1]);
    if (first || second) groups[first && second ? 0 : first ? 1 : 2]++;
  }
  return groups;
}

// Of two traces: what each has left, place by place.
function showComparison() {
  const card = document.getElementById("comparison");
  card.hidden = view.run < DIFFERENCE;
  if (card.hidden) return;
  const kinds = KINDS.map((kind, n) => n).filter((n) => n && PROMPT_COUNTS[n]);
  const head = ["", ...DATA.runs.flatMap((run) => [run.name, ...kinds.map((n) => KINDS[n])]), "in both", "only in the first", "only in the second"];
  const stops = [{ title: "The prompt", done: [0, 0] }, ...steps()];
  const rows = stops.map((stop) => [
    stop.title,
    ...DATA.runs.flatMap((run, n) => {
      const counts = stop.done[n] ? run.stages[stop.done[n] - 1].counts : PROMPT_COUNTS;
      return [count(counts.reduce((sum, each) => sum + each, 0)), ...kinds.map((kind) => count(counts[kind]))];
    }),
    ...overlap(stop.done).map(count),
  ]);
  card.querySelector("div").replaceChildren(table(head, rows, stops.map((_, n) => (n === view.step ? "now" : ""))));
}

// Budgets of every window at every drop.
function showBudgets() {
  const card = document.getElementById("budgets"), shown = runsShown();
  const parts = [];
  for (const run of shown) {
    const drops = run.stages.filter((stage) => stage.budgets);
    const windows = [...new Set(run.window)].filter((window) => window >= 0).sort((a, b) => a - b);
    if (!drops.length || !windows.length) continue;
    if (DATA.runs.length > 1) parts.push(element("h3", run.name));
    const now = run.stages[done[DATA.runs.indexOf(run)] - 1];
    const rows = windows.map((window) => [`window ${count(window)}`, ...drops.flatMap((stage) => stage.budgets[window].map((n) => (n === null ? "–" : count(n))))]);
    const made = table(["", ...drops.flatMap((stage) => [`layer ${stage.layer} video`, "audio"])], rows);
    drops.forEach((stage, number) => {
      if (stage === now) for (const row of made.querySelectorAll("tr")) for (const place of [1, 2]) row.children[2 * number + place].style.background = "var(--ground)";
    });
    parts.push(made);
  }
  card.hidden = !parts.length;
  card.querySelector("div").replaceChildren(...parts);
}

// What every layer works on, holds and takes.
function showLayers() {
  const card = document.getElementById("layers"), shown = runsShown();
  const parts = [];
  for (const run of shown) {
    if (!run.layers) continue;
    if (DATA.runs.length > 1) parts.push(element("h3", run.name));
    const kinds = KINDS.map((kind, n) => n).filter((n) => n && PROMPT_COUNTS[n]);
    const kept = kinds.map((n) => [KINDS[n], ...meanOf(run, n, run.layers.tokens.length)]);
    if (kept.length) parts.push(element("p", `Kept, mean of all layers: ${kept.map(([kind, part, asked]) => `${kind} ${beside(share(part, 1), asked)}`).join("; ")}.`));
    const { tokens, flops, kv_bytes, full } = run.layers;
    const head = ["layer", "tokens", "", "of the prompt"];
    if (flops) head.push("GFLOPs");
    if (run.keys.length) head.push("keys held");
    if (kv_bytes?.length) head.push("KV, KiB");
    if (run.seconds) head.push("ms, measured");
    const rows = tokens.map((n, layer) => [
      String(layer + 1), count(n), "", share(n, full),
      ...(flops ? [digits(flops[layer] / 1e9)] : []),
      ...(run.keys.length ? [count(run.keys[layer])] : []),
      ...(kv_bytes?.length ? [digits(kv_bytes[layer] / 1024)] : []),
      ...(run.seconds ? [(1e3 * run.seconds[layer]).toFixed(2)] : []),
    ]);
    const stage = run.stages[done[DATA.runs.indexOf(run)] - 1];
    const made = table(head, rows, tokens.map((_, layer) => (stage && layer === stage.layer ? "now" : "")));
    made.querySelectorAll("tbody tr").forEach((row, layer) => {
      const bar = element("span", null);
      bar.className = "bar";
      bar.style.width = `${Math.max(1, (160 * tokens[layer]) / full)}px`;
      row.children[2].append(bar);
      row.children[2].style.textAlign = "left";
    });
    const sum = (values) => values.reduce((all, each) => all + each, 0);
    const total = ["all", "", "", "",
      ...(flops ? [digits(sum(flops) / 1e9)] : []),
      ...(run.keys.length ? [count(sum(run.keys))] : []),
      ...(kv_bytes?.length ? [digits(sum(kv_bytes) / 1024)] : []),
      ...(run.seconds ? [(1e3 * sum(run.seconds)).toFixed(2)] : []),
    ];
    if (total.length > 4) made.append(element("tfoot", null, element("tr", null, ...total.map((text) => element("td", text)))));
    parts.push(made);
  }
  card.hidden = !parts.length;
  card.querySelector("div").replaceChildren(...parts);
}
