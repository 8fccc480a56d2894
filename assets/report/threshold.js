// Thresholds that are dragged above a map of cells and a scatter: used by the app's page and by a site's. While one moves,
// both are repainted from the statistics that the browser holds, once a frame.

// MemFlex's rule: a gradient, a cosine below μ, a magnitude above σ.
function located(cells, mu, sigma) {
  const inside = new Uint8Array(cells.cos.length);
  for (let i = 0; i < inside.length; i++) inside[i] = cells.live[i] && cells.cos[i] < mu && cells.mag[i] > sigma ? 1 : 0;
  return inside;
}

function words(cells, inside) {
  let count = 0, part = 0, whole = 0;
  for (let i = 0; i < inside.length; i++) {
    whole += cells.size[i];
    if (inside[i]) { count += 1; part += cells.size[i]; }
  }
  return `${count} of ${inside.length} tensors · ${((100 * part) / whole).toFixed(1)} % of the adapter`;
}

function short(value) {
  return Math.abs(value) >= 0.01 || value === 0 ? value.toPrecision(3) : value.toExponential(2);
}

// -- the heatmap ----------------------------------------------------------------------------------------------------

function trace(plot, name) {
  return plot.data.findIndex((one) => one.name === name);
}

// While a threshold moves, a canvas above the plot outlines and counts: plotly itself would need some 20 ms for
// each repaint. On release the figure is drawn that shows the same.
function paintHeat(plot, cells, inside, data) {
  const z = plot.data[trace(plot, "all")].z, high = z.length, wide = z[0].length;
  const count = new Float32Array(high * wide);
  for (let i = 0; i < inside.length; i++) count[cells.y[i] * wide + cells.x[i]] += inside[i];
  cover(plot, count, high, wide, data);
}

function cover(plot, count, high, wide, data) {
  const { xaxis, yaxis, xaxis2, yaxis2 } = plot._fullLayout;
  const canvas = overlay(plot), pen = canvas.getContext("2d");
  const left = (c) => xaxis._offset + xaxis.d2p(c - 0.5), top = (r) => yaxis._offset + yaxis.d2p(r - 0.5);
  const columns = new Float32Array(wide), rows = new Float32Array(high);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.save();
  pen.scale(devicePixelRatio, devicePixelRatio);
  for (let r = 0; r < high; r++) {
    for (let c = 0; c < wide; c++) {
      columns[c] += count[r * wide + c];
      rows[r] += count[r * wide + c];
    }
  }
  pen.globalAlpha = 0.55;
  pen.fillStyle = data.accent;
  for (let c = 0; yaxis2 && c < wide; c++) {
    const tall = yaxis2._length - yaxis2.d2p(columns[c]), width = left(c + 1) - left(c);
    pen.fillRect(left(c) + width / 8, yaxis2._offset + yaxis2._length - tall, width * 0.75, tall);
  }
  for (let r = 0; xaxis2 && r < high; r++) {
    const height = top(r + 1) - top(r);
    pen.fillRect(xaxis2._offset, top(r) + height / 8, xaxis2.d2p(rows[r]), height * 0.75);
  }
  pen.globalAlpha = 1;
  const border = outline(count, high, wide, data.inset);
  for (const [colour, width] of [[getComputedStyle(plot).getPropertyValue("--st-background-color"), 5], [data.ink, 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    for (const [x1, y1, x2, y2] of border) {
      pen.moveTo(left(x1 + 0.5), top(y1 + 0.5));
      pen.lineTo(left(x2 + 0.5), top(y2 + 0.5));
    }
    pen.stroke();
  }
  pen.restore();
}

// As `outline` in core/models/cells.py.
function outline(count, high, wide, inset) {
  const on = (r, c) => r >= 0 && r < high && c >= 0 && c < wide && count[r * wide + c] > 0;
  const reach = 0.5 - inset, lines = [];
  const end = (along, across) => (!along ? reach : across ? 0.5 + inset : 0.5);
  for (let r = 0; r < high; r++) {
    for (let c = 0; c < wide; c++) {
      if (!on(r, c)) continue;
      for (const d of [-1, 1]) {
        if (!on(r + d, c)) {
          const [from, to] = [-1, 1].map((s) => c + s * end(on(r, c + s), on(r + d, c + s)));
          lines.push([from, r + d * reach, to, r + d * reach]);
        }
        if (!on(r, c + d)) {
          const [from, to] = [-1, 1].map((s) => r + s * end(on(r + s, c), on(r + s, c + d)));
          lines.push([c + d * reach, from, c + d * reach, to]);
        }
      }
    }
  }
  return lines;
}

function overlay(plot) {
  let canvas = plot.querySelector(":scope > canvas");
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.className = "fs-cover";
    canvas.width = plot.clientWidth * devicePixelRatio;
    canvas.height = plot._fullLayout.height * devicePixelRatio;
    Object.assign(canvas.style, { width: `${plot.clientWidth}px`, height: `${plot._fullLayout.height}px` });
    plot.append(canvas);
    plot.classList.add("fs-moving");
    for (const line of outlinesOf(plot)) line.style.setProperty("display", "none");
  }
  return canvas;
}

function outlinesOf(plot) {
  const lines = plot.data.filter((one) => one.type === "scatter" && one.x?.length), drawn = plot.querySelectorAll(".scatterlayer .trace");
  return [...drawn].filter((_, i) => lines[i]?.name.startsWith("outline"));
}

function uncover(plot) {
  for (const line of outlinesOf(plot)) line.style.removeProperty("display");
  plot.querySelector(":scope > canvas")?.remove();
  plot.classList.remove("fs-moving");
}

// A handle on the colour bar, where its colours are what a threshold cuts.
function colourHandle(plot, data, shared, signal) {
  const bar = plot.querySelector(".colorbar .cbfills");
  const axis = { cosine: "mu", forget: "sigma" }[data.measure];
  if (!bar || !axis || !data.draggable) return () => {};
  const heat = plot.data[trace(plot, "all")];
  const toColour = (value) => (axis === "sigma" && data.logarithmic ? Math.log10(Math.max(value, 1e-300)) : value);
  const toValue = (colour) => (axis === "sigma" && data.logarithmic ? 10 ** colour : colour);
  const handle = knob(axis === "mu" ? "μ on the colour bar" : "σ on the colour bar", "fs-bar");
  plot.append(handle);
  const place = () => {
    const outer = plot.getBoundingClientRect(), inner = plot.querySelector(".colorbar .cbfills").getBoundingClientRect();
    const share = (toColour(shared[axis]) - heat.zmin) / (heat.zmax - heat.zmin);
    handle.style.left = `${inner.left - outer.left + Math.min(1, Math.max(0, share)) * inner.width}px`;
    handle.style.top = `${inner.top - outer.top + inner.height / 2}px`;
    say(handle, axis, shared[axis]);
  };
  drag(handle, signal, shared, (event) => {
    const inner = plot.querySelector(".colorbar .cbfills").getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - inner.left) / inner.width));
    shared.move({ [axis]: toValue(heat.zmin + share * (heat.zmax - heat.zmin)) });
  });
  keys(handle, signal, axis, shared);
  place();
  return place;
}

// -- the scatter ----------------------------------------------------------------------------------------------------

function paintScatter(plot, cells, inside, colours) {
  const nodes = plot.querySelectorAll(".scatterlayer .trace:first-child .points path");
  const last = (plot.painted ??= new Int8Array(nodes.length).fill(-1));
  let k = 0;
  for (let i = 0; i < inside.length; i++) {
    if (!cells.drawn[i]) continue;
    if (last[k] !== inside[i] && nodes[k]) {
      nodes[k].style.fill = inside[i] ? colours.accent : colours.before;
      nodes[k].style.opacity = inside[i] ? 0.9 : 0.45;
      last[k] = inside[i];
    }
    k += 1;
  }
}

function knob(label, kind) {
  const made = document.createElement("div");
  made.className = `fs-knob ${kind}`;
  made.tabIndex = 0;
  made.setAttribute("role", "slider");
  made.setAttribute("aria-label", label);
  return made;
}

function say(handle, axis, value) {
  handle.setAttribute("aria-valuenow", String(Number(value.toPrecision(4))));
  handle.setAttribute("aria-valuemin", axis === "mu" ? "-1" : "0");
  handle.setAttribute("aria-valuemax", axis === "mu" ? "1" : "1000000");
  handle.setAttribute("aria-valuetext", short(value));
}

function drag(handle, signal, shared, move) {
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    event.stopPropagation();
    handle.focus({ preventScroll: true });
    handle.setPointerCapture(event.pointerId);
    shared.held = true;
    const ended = new AbortController();
    handle.addEventListener("pointermove", move, { signal: ended.signal });
    const end = () => { ended.abort(); shared.release(); };
    handle.addEventListener("pointerup", end, { signal: ended.signal });
    handle.addEventListener("pointercancel", end, { signal: ended.signal });
  }, { signal });
}

// A key is released as a pointer is; who leaves the handle with a key down (Tab) releases it, too.
function keys(handle, signal, axis, shared) {
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!step) return;
    event.preventDefault();
    shared.held = true;
    shared.move(axis === "mu" ? { mu: Math.min(1, Math.max(-1, shared.mu + 0.01 * step)) } : { sigma: shared.sigma * 10 ** (0.02 * step) });
  }, { signal });
  for (const event of ["keyup", "blur"]) handle.addEventListener(event, () => shared.release(), { signal });
}

function thresholdLines(plot, data, shared, signal) {
  const layer = document.createElement("div");
  layer.className = "fs-lines";
  const corner = document.createElement("div");
  corner.className = "fs-corner";
  const mu = knob("Shared below (μ)", "fs-mu"), sigma = knob("Pull to forget above (σ)", "fs-sigma");
  const label = document.createElement("output");
  label.className = "fs-live";
  label.hidden = true;
  layer.append(...(data.draggable ? [corner, mu, sigma] : []), label);
  plot.append(layer);
  const place = () => {
    const { xaxis, yaxis, _size: size } = plot._fullLayout;
    const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
    const x = xaxis._offset + clamp(xaxis.d2p(shared.mu), 0, xaxis._length);
    const y = yaxis._offset + clamp(shared.sigma > 0 ? yaxis.d2p(shared.sigma) : yaxis._length, 0, yaxis._length);
    Object.assign(mu.style, { left: `${x}px`, top: `${size.t}px`, height: `${yaxis._length}px` });
    Object.assign(sigma.style, { top: `${y}px`, left: `${size.l}px`, width: `${xaxis._length}px` });
    Object.assign(corner.style, { left: `${size.l}px`, top: `${size.t}px`, width: `${x - size.l}px`, height: `${y - size.t}px` });
    mu.dataset.value = `μ ${shared.mu.toFixed(3)}`;
    sigma.dataset.value = `σ ${short(shared.sigma)}`;
    say(mu, "mu", shared.mu);
    say(sigma, "sigma", shared.sigma);
  };
  const at = () => plot.getBoundingClientRect();
  drag(mu, signal, shared, (event) => {
    const { xaxis } = plot._fullLayout;
    const px = Math.min(xaxis._length, Math.max(0, event.clientX - at().left - xaxis._offset));
    shared.move({ mu: Math.min(1, Math.max(-1, xaxis.p2d(px))) });
  });
  drag(sigma, signal, shared, (event) => {
    const { yaxis } = plot._fullLayout;
    const px = Math.min(yaxis._length, Math.max(0, event.clientY - at().top - yaxis._offset));
    shared.move({ sigma: yaxis.p2d(px) });
  });
  keys(mu, signal, "mu", shared);
  keys(sigma, signal, "sigma", shared);
  place();
  return { place, label };
}

// What moves a threshold repaints all that shows it, at most once a frame.
function movable(shared) {
  shared.move = (change) => {
    Object.assign(shared, change, { moved: true });
    if (shared.frame || !shared.cells) return;
    shared.frame = requestAnimationFrame(() => {
      shared.frame = null;
      const inside = located(shared.cells, shared.mu, shared.sigma);
      for (const paint of shared.paint.values()) paint(inside);
    });
  };
}
