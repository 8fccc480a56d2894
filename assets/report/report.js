// What can be done with a report, and on the pages of a site: uncover words, filter answers, colour the cells, present. What
// a page has not got is passed over. It asks no network.
"use strict";
(() => {
  const data = window.forgetscopeData ?? JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  for (const tools of document.querySelectorAll(".tools")) tools.hidden = false;

  // -- covered words
  function reveal() {
    const covered = document.body.classList.toggle("covered");
    by("reveal")?.setAttribute("aria-pressed", String(!covered));
    if (by("reveal")) by("reveal").textContent = covered ? "Show the covered words" : "Cover them again";
  }
  by("reveal")?.addEventListener("click", reveal);
  document.addEventListener("reveal", () => { if (!data.redacted) reveal(); });
  by("print")?.addEventListener("click", () => window.print());

  // -- answers
  const FIRST = 24;
  const examples = [...document.querySelectorAll(".example")], worst = ["leaked", "lost", "degenerate", "refused", "forgotten", "kept"];
  const order = (one) => { const place = worst.indexOf(one.dataset.verdict); return place < 0 ? worst.length : place; };
  let all = false;
  function filter() {
    const wanted = { scope: by("scope-filter").value, verdict: by("verdict-filter").value, kind: by("kind-filter").value, who: by("who-filter")?.value };
    const words = (by("search")?.value ?? "").toLowerCase();
    const found = examples.filter((one) => Object.entries(wanted).every(([key, value]) => !value || one.dataset[key] === value)
      && (!words || one.textContent.toLowerCase().includes(words)));
    const shown = new Set(all ? found : found.slice(0, FIRST));
    examples.forEach((one) => { one.hidden = !shown.has(one); });
    by("shown").textContent = `${shown.size} of ${found.length}, worst first`;
    by("more").hidden = shown.size === found.length && !all;
    by("more").textContent = all ? "Show fewer" : `Show all ${found.length}`;
  }
  if (examples.length) {
    examples.sort((a, b) => order(a) - order(b)).forEach((one) => by("examples").append(one));
    by("filters").hidden = false;
    for (const id of ["scope-filter", "verdict-filter", "kind-filter", "who-filter", "search"]) by(id)?.addEventListener("input", filter);
    by("more").addEventListener("click", () => { all = !all; filter(); });
    filter();
  }

  // -- settings as a file, from the browser's memory
  const save = by("save-config");
  if (save) save.hidden = false;
  save?.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(data.manifest.config, null, 1)}\n`], { type: "application/json" }));
    link.download = "config.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // -- the cells
  const picture = data.picture, plot = by("heatmap"), dark = window.matchMedia("(prefers-color-scheme: dark)");
  const COLOURS = {
    false: { text: "#14181C", muted: "#5B6270", accent: "#B8420F", paper: "#F2F0EA", size: ["#F1EEE6", "#8DB4CC", "#123E5A"], apart: ["#F1EEE6", "#E6A27C", "#8F3208"] },
    true: { text: "#E9E7E2", muted: "#9CA3AF", accent: "#FF8A4C", paper: "#1E2126", size: ["#23272D", "#35708F", "#A5DAFA"], apart: ["#23272D", "#A35528", "#FFB38A"] },
  };
  const literal = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const scale = (colours) => colours.map((colour, i) => [i / (colours.length - 1), colour]);
  const number = (value) => value === null || value === undefined ? "–" : Math.abs(value) >= 0.01 || value === 0 ? value.toPrecision(3) : value.toExponential(2);

  function hover(x, y, name) {
    if (picture.inside[y][x] === null) return "";
    const lines = Object.entries(picture.measures).map(([, m]) => `${literal(m.title)} ${number(m.z[y][x])}`);
    return [`<b>layer ${picture.layers[x]} · ${literal(name)}</b>`, ...lines, picture.inside[y][x] ? "in the region" : "outside the region"].join("<br>");
  }
  function draw() {
    const key = by("measure").value, measure = picture.measures[key], c = COLOURS[dark.matches];
    by("measure-what").textContent = measure.what;
    const names = Object.fromEntries(picture.rows.map((row) => [row.at, row.name]));
    // What is shared least is what one looks for: as strong as a strong pull.
    const shared = key === "cosine", colours = shared ? [...c.apart].reverse() : key === "divergence" || key === "change" ? c.apart : c.size;
    const seen = (v) => (v === null ? null : shared ? v : v > 0 ? Math.log10(v) : NaN);
    const values = measure.z.map((row) => row.map(seen)), known = values.flat().filter((v) => v !== null && !Number.isNaN(v));
    const low = Math.min(...known), high = Math.max(...known), end = (v) => number(shared ? v : 10 ** v);
    // What is measured as nothing, or less, is the smallest; a cell that did not change has no colour.
    const z = values.map((row) => row.map((v) => (Number.isNaN(v) ? (key === "change" ? null : low) : v)));
    const text = z.map((row, y) => row.map((_, x) => hover(x, y, names[y] ?? "")));
    const bar = { orientation: "h", thickness: 8, len: 0.3, x: 0.97, xanchor: "right", y: 0, yanchor: "top", ypad: 36, outlinewidth: 0, tickvals: [low, high], ticktext: [end(low), end(high)], tickfont: { color: c.muted, size: 12 } };
    const common = { type: "heatmap", hoverongaps: false, colorscale: scale(colours), zmin: low, zmax: high, xgap: picture.layers.length > 48 ? 0.5 : 2, ygap: 2 };
    const every = Math.max(1, Math.ceil((picture.layers.length * 22) / Math.max(200, plot.clientWidth - 120)));
    const ticks = picture.layers.map((_, i) => i).filter((i) => i % (every === 1 ? 1 : Math.max(every, 5)) === 0);
    const axis = { zeroline: false, showgrid: false, fixedrange: true, automargin: true, tickfont: { color: c.muted, size: 12 }, title: { font: { color: c.muted, size: 13 } } };
    const last = z.length - 1;
    const drawing = window.Plotly.react(plot, [
      { ...common, name: "all", z, text, hovertemplate: "%{text}<extra></extra>", colorbar: bar, hoverongaps: key === "change" },
      { type: "scatter", mode: "markers", name: "no gradient", ...picture.dead, marker: { symbol: "line-ne-open", size: 10, color: c.muted }, hoverinfo: "skip" },
      { type: "scatter", mode: "lines", name: "outline", ...picture.outline, line: { color: c.text, width: 1.8 }, hoverinfo: "skip" },
    ], {
      height: Math.min(1000, 27 * z.length + 110), width: plot.clientWidth, margin: { l: 8, r: 8, t: 8, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      showlegend: false, dragmode: false, font: { family: "Inter, system-ui, sans-serif", size: 13, color: c.text }, hoverlabel: { bgcolor: c.paper, font: { color: c.text } },
      xaxis: { ...axis, title: { ...axis.title, text: "layer" }, tickvals: ticks, ticktext: ticks.map((i) => String(picture.layers[i])), range: [-0.6, picture.layers.length - 0.4] },
      yaxis: { ...axis, range: [last + 0.6, -0.6], tickvals: picture.rows.map((row) => row.at), ticktext: picture.rows.map((row) => literal(row.name)) },
    }, { displayModeBar: false, responsive: false, showTips: false, showSendToCloud: false });
    plot.dataset.drawn = "true";
    drawing.then(() => plot.dispatchEvent(new Event("drawn")));
  }
  if (picture && plot) {
    plot.addEventListener("redraw", draw);
    by("measure").addEventListener("input", draw);
    dark.addEventListener("change", draw);
    new ResizeObserver(() => { if (plot.clientWidth && plot.clientWidth !== plot._width) { plot._width = plot.clientWidth; draw(); } }).observe(plot);
  }

  // -- presenting
  const stage = by("stage"), box = stage?.querySelector(".slides");
  if (!stage) return;
  function leave() {
    stage.hidden = true;
    document.body.classList.remove("presenting");
    if (location.hash === "#present") history.replaceState(null, "", location.pathname + location.search);
  }
  const slides = forgetscopeSlides(box, leave);
  function present() {
    stage.hidden = false;
    document.body.classList.add("presenting");
    slides.open();
  }
  by("present").addEventListener("click", () => { present(); slides.fullScreen(); });
  window.addEventListener("hashchange", () => { if (location.hash === "#present") present(); });
  if (location.hash === "#present") present();
})();
