// What the pages of a site do besides a report: thresholds that are dragged and counted in the browser, and links to one
// question.
"use strict";
(() => {
  const by = (id) => document.getElementById(id), { picture, thresholds: cells } = window.forgetscopeData;

  // -- a link to a question shows it, whatever the filter lets through
  function follow() {
    const one = /^#q\d+$/.test(location.hash) && by(location.hash.slice(1));
    if (!one) return;
    one.hidden = false;
    one.scrollIntoView();
  }
  window.addEventListener("hashchange", follow);
  follow();

  // -- thresholds
  const map = by("heatmap"), dots = by("scatter");
  if (!map || !dots || !cells) return;
  const own = { inside: picture.inside, outline: picture.outline }, box = document.querySelector(".thresholds");
  const sliders = { mu: by("mu"), sigma: by("sigma") };
  const shared = { cells, mu: cells.mu, sigma: cells.sigma, paint: new Map() };
  let ended = null, lines = null, cut = cells.own;

  let colours = read();

  function read() {
    const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(name).trim();
    const names = ["accent", "before", "ink", "muted", "line"];
    return { ...Object.fromEntries(names.map((name) => [name, of(`--${name}`)])), inset: cells.inset };
  }
  function told(inside) {
    const mine = !cut || (cells.own && shared.mu === cells.mu && shared.sigma === cells.sigma);
    by("cut").textContent = `${mine ? "The run’s own region" : "These thresholds"}: ${words(cells, inside)}`;
    by("own").hidden = mine;
    for (const [axis, slider] of Object.entries(sliders)) {
      slider.value = String(axis === "mu" ? shared.mu : Math.log10(Math.max(shared.sigma, 1e-300)));
      slider.nextElementSibling.value = axis === "mu" ? shared.mu.toFixed(3) : short(shared.sigma);
      slider.setAttribute("aria-valuetext", slider.nextElementSibling.value);
    }
  }
  // The run's own cells where no threshold was moved yet and its rule has none.
  function chosen() {
    return cut ? located(cells, shared.mu, shared.sigma) : Uint8Array.from(cells.x, (x, i) => own.inside[cells.y[i]][x] > 0);
  }
  // On release the picture itself takes over what the canvas above it showed.
  function settle() {
    const inside = chosen(), high = own.inside.length, wide = own.inside[0].length, count = new Float32Array(high * wide);
    Object.assign(picture, own);
    if (cut) {
      picture.inside = own.inside.map((row) => row.slice());
      for (let i = 0; i < inside.length; i++) {
        picture.inside[cells.y[i]][cells.x[i]] = inside[i];
        count[cells.y[i] * wide + cells.x[i]] += inside[i];
      }
      const border = outline(count, high, wide, cells.inset), gap = null;
      picture.outline = { x: border.flatMap(([x1, , x2]) => [x1, x2, gap]), y: border.flatMap(([, y1, , y2]) => [y1, y2, gap]) };
    }
    told(inside);
    map.dispatchEvent(new Event("redraw"));
    paintScatter(dots, cells, inside, colours);
    lines?.place();
  }
  movable(shared);
  const move = shared.move;
  shared.move = (change) => { cut = true; move(change); };
  shared.release = () => {
    if (shared.moved) settle();
    shared.moved = false;
  };
  shared.paint.set("words", told);
  shared.paint.set("map", (inside) => paintHeat(map, cells, inside, colours));
  shared.paint.set("dots", (inside) => { lines?.place(); paintScatter(dots, cells, inside, colours); });

  // -- the sliders above the map
  const live = cells.cos.flatMap((cos, i) => (cells.drawn[i] ? [{ cos, log: Math.log10(cells.mag[i]) }] : []));
  const ends = (key) => [Math.min(...live.map((one) => one[key])), Math.max(...live.map((one) => one[key]))];
  const shown = { mu: ends("cos"), sigma: ends("log") };
  for (const [axis, slider] of Object.entries(sliders)) {
    const [low, high] = shown[axis], step = (high - low) / 500;
    Object.assign(slider, { min: String(low - step), max: String(high + step), step: "any" });
    slider.addEventListener("input", () => shared.move(axis === "mu" ? { mu: Number(slider.value) } : { sigma: 10 ** Number(slider.value) }));
    slider.addEventListener("change", () => shared.release());
  }
  by("own").addEventListener("click", () => {
    Object.assign(shared, { mu: cells.mu, sigma: cells.sigma });
    cut = cells.own;
    settle();
  });

  // -- the dots
  function scatter() {
    const c = colours, inside = chosen(), title = (text) => ({ text, font: { color: c.muted, size: 13 } });
    const axis = { zeroline: false, gridcolor: c.line, fixedrange: true, automargin: true, tickfont: { color: c.muted, size: 12 } };
    const room = (low, high) => [low - 0.04 * (high - low) - 1e-3, high + 0.04 * (high - low) + 1e-3];
    window.Plotly.react(dots, [
      { type: "scatter", mode: "markers", x: live.map((one) => one.cos), y: live.map((one) => 10 ** one.log), marker: { size: 6, color: c.before }, name: "tensors", hovertemplate: "shared %{x:.3f}, pull to forget %{y:.3g}<extra></extra>" },
    ], {
      height: 320, width: dots.clientWidth, margin: { l: 8, r: 8, t: 28, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
      font: { family: "Inter, system-ui, sans-serif", size: 13, color: c.ink },
      xaxis: { ...axis, title: title("shared with what is kept (cosine)"), range: room(...shown.mu) },
      yaxis: { ...axis, title: title("pull to forget (mean |gradient|)"), type: "log", exponentformat: "power", range: room(...shown.sigma) },
    }, { displayModeBar: false, responsive: false, showTips: false }).then(() => {
      ended?.abort();
      ended = new AbortController();
      dots.painted = null;
      dots.querySelector(":scope > .fs-lines")?.remove();
      lines = thresholdLines(dots, { draggable: true }, shared, ended.signal);
      paintScatter(dots, cells, inside, c);
      dots.dataset.drawn = "true";
    });
  }
  let handle = () => {}, bar = null;
  map.addEventListener("drawn", () => {
    uncover(map);
    bar?.abort();
    bar = new AbortController();
    const held = map.querySelector(":scope > .fs-knob") === document.activeElement;
    map.querySelector(":scope > .fs-knob")?.remove();
    handle = colourHandle(map, { measure: by("measure").value, draggable: true, logarithmic: true }, shared, bar.signal);
    if (held) map.querySelector(":scope > .fs-knob")?.focus({ preventScroll: true });
  });
  shared.paint.set("handle", () => handle());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours = read(); scatter(); });
  new ResizeObserver(() => { if (dots.clientWidth && dots.clientWidth !== dots._width) { dots._width = dots.clientWidth; scatter(); } }).observe(dots);
  box.hidden = false;
  told(chosen());
})();
