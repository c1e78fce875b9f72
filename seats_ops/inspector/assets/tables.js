"use strict";
// Budgets of every window at every drop, and what every layer works on and holds.
function showBudgets() {
  const card = document.getElementById("budgets"), shown = view.run === 2 ? DATA.runs : [DATA.runs[view.run]];
  const windows = [...new Set(TOKENS.window)].filter((window) => window >= 0).sort((a, b) => a - b);
  const parts = [];
  for (const run of shown) {
    const drops = run.stages.filter((stage) => stage.budgets);
    if (!drops.length || !windows.length) continue;
    if (DATA.runs.length > 1) parts.push(element("h3", run.name));
    const now = run.stages[Math.min(view.step, run.stages.length) - 1];
    const rows = windows.map((window) => [`window ${count(window)}`, ...drops.flatMap((stage) => stage.budgets[window].map(count))]);
    const made = table(["", ...drops.flatMap((stage) => [`layer ${stage.layer} video`, "audio"])], rows);
    drops.forEach((stage, number) => {
      if (stage === now) for (const row of made.querySelectorAll("tr")) for (const place of [1, 2]) row.children[2 * number + place].style.background = "var(--ground)";
    });
    parts.push(made);
  }
  card.hidden = !parts.length;
  card.querySelector("div").replaceChildren(...parts);
}

function showLayers() {
  const card = document.getElementById("layers"), shown = view.run === 2 ? DATA.runs : [DATA.runs[view.run]];
  const parts = [];
  for (const run of shown) {
    if (!run.layers) continue;
    if (DATA.runs.length > 1) parts.push(element("h3", run.name));
    const { tokens, flops, kv_bytes, full } = run.layers;
    const head = ["layer", "tokens", "", "of the prompt"];
    if (flops) head.push("GFLOPs");
    if (run.kv_lengths.length) head.push("keys held");
    if (kv_bytes) head.push("KV, KiB");
    if (run.seconds) head.push("ms");
    const rows = tokens.map((n, layer) => [
      String(layer + 1), count(n), "", share(n, full),
      ...(flops ? [digits(flops[layer] / 1e9)] : []),
      ...(run.kv_lengths.length ? [count(run.kv_lengths[layer])] : []),
      ...(kv_bytes ? [digits(kv_bytes[layer] / 1024)] : []),
      ...(run.seconds ? [(1e3 * run.seconds[layer]).toFixed(2)] : []),
    ]);
    const stage = run.stages[Math.min(view.step, run.stages.length) - 1];
    const made = table(head, rows, tokens.map((_, layer) => (stage && layer === stage.layer ? "now" : "")));
    made.querySelectorAll("tbody tr").forEach((row, layer) => {
      const bar = element("span", null);
      bar.className = "bar";
      bar.style.width = `${Math.max(1, (160 * tokens[layer]) / full)}px`;
      row.children[2].append(bar);
      row.children[2].style.textAlign = "left";
    });
    parts.push(made);
  }
  card.hidden = !parts.length;
  card.querySelector("div").replaceChildren(...parts);
}
