// The central picture. Two plots, the heatmap and the scatter, share one link: while a threshold is dragged in either,
// both repaint from the statistics that they hold (assets/report/threshold.js); Python hears of the value on release.
//
// Each release has a number, and what Python draws says which one it had heard (selection_state.py). What was drawn before
// the last release was heard is out of date: it is passed over, for what answers that release is on its way.

function link(name) {
  window.forgetscopeLinks ??= new Map();
  if (!window.forgetscopeLinks.has(name)) window.forgetscopeLinks.set(name, { paint: new Map() });
  return window.forgetscopeLinks.get(name);
}

function join(data, send) {
  const shared = link(`${data.run} ${data.session}`);
  shared.released = Math.max(shared.released ?? 0, data.released);
  shared.late ??= [];
  if (data.cells) shared.cells = data.cells;
  movable(shared);
  shared.release = () => {
    shared.held = false;
    if (shared.moved) send("released", { mu: shared.mu, sigma: shared.sigma, number: (shared.released += 1) });
    shared.moved = false;
    shared.late.splice(0).forEach((go) => go());
  };
  return shared;
}

// Back and forward within this run: the address changed by itself, which only this browser can know for sure.
function follow(data, shared, send, signal) {
  const path = location.pathname;
  window.addEventListener("popstate", () => {
    const query = new URLSearchParams(location.search);
    if (location.pathname !== path || (query.get("run") ?? data.run) !== data.run) return;
    send("released", { region: query.get("region") ?? "", number: (shared.released += 1) });
  }, { signal });
}

export default function (told) {
  const given = { ...told, data: whole(told.data) }, { data, parentElement, setStateValue } = given;
  const box = parentElement.querySelector(".fs-box");
  const plot = box.querySelector(".fs-plot");
  // A state and no trigger: the browser sends it again with whatever it sends next, should this message get lost.
  const shared = join(data, setStateValue);
  draw(given, box, plot, shared);
  return () => {
    box.turn = null;
    box.stop?.abort();
    shared.paint.delete(data.part);
    if (window.Plotly) window.Plotly.purge(plot);
  };
}

async function draw({ data, setStateValue, setTriggerValue }, box, plot, shared) {
  const { figure, part } = data;
  const turn = (box.turn = {}), stop = new AbortController();
  const outdated = () => box.turn !== turn || data.released < shared.released;
  // Drawing anew would take the handle out of the hand. Where it was moved, its release makes this out of date.
  const letGo = () => shared.held && new Promise((resolve) => shared.late.push(resolve));
  try {
    const Plotly = await plotly();
    if (part !== "heat") await afterThePicture(plot);
    await letGo();
    if (outdated()) return;
    // Either plot may come first: both know the thresholds, the scatter brings the statistics.
    Object.assign(shared, { mu: data.mu, sigma: data.sigma });
    dress(box, plot, "group", data, "All tensors with all their numbers", "The picture");
    const layout = { ...figure.layout, width: plot.clientWidth };
    // Lines and corner are drawn above the plot, where they can be taken hold of.
    if (part === "scatter") Object.assign(layout, { shapes: [], annotations: [] });
    if (plot.clientWidth < 520) for (const one of figure.data) if (one.colorbar) one.colorbar = { ...one.colorbar, len: 0.8, ypad: 52 };
    await Plotly.react(plot, figure.data, layout, OPTIONS);
    plot.painted = null;
    await letGo();
    if (outdated()) return;
    box.stop?.abort();
    box.stop = stop;
    if (part === "heat") follow(data, shared, setStateValue, stop.signal);
    // A handle that is held by the keyboard is drawn anew, and must be held again.
    const focused = plot.getRootNode().activeElement;
    const held = focused?.classList.contains("fs-knob") && plot.contains(focused) ? focused.className : null;
    plot.querySelectorAll(":scope > .fs-lines, :scope > .fs-knob").forEach((old) => old.remove());
    uncover(plot);
    let place = () => {};
    if (part === "scatter") {
      const lines = thresholdLines(plot, data, shared, stop.signal);
      place = lines.place;
      shared.paint.set(part, (inside) => {
        lines.place();
        paintScatter(plot, shared.cells, inside, data.colours);
        lines.label.textContent = words(shared.cells, inside);
        lines.label.hidden = false;
      });
    } else {
      place = colourHandle(plot, data, shared, stop.signal);
      shared.paint.set(part, (inside) => { place(); paintHeat(plot, shared.cells, inside, data); });
    }
    if (held) [...plot.querySelectorAll(".fs-knob")].find((one) => one.className === held)?.focus({ preventScroll: true });
    for (const event of ["plotly_click", "plotly_selected", "plotly_deselect"]) plot.removeAllListeners?.(event);
    plot.on("plotly_click", (event) => {
      const point = event.points[0];
      if (point?.data.name === "layers" || point?.data.name === "separability") setTriggerValue("picked", { layer: data.layers[point.x] });
      else if (point?.data.name === "modules") setTriggerValue("picked", { row: point.y });
      else if (point?.customdata) setTriggerValue("picked", { cell: point.customdata });
    });
    if (part === "scatter") {
      plot.on("plotly_selected", (event) => {
        const names = (event?.points ?? []).map((one) => one.customdata).filter(Boolean);
        if (names.length) setTriggerValue("picked", { brushed: names });
      });
    }
    plot.dataset.drawn = "true";
    const resized = new ResizeObserver(() => {
      if (!plot.clientWidth || plot.clientWidth === plot._fullLayout.width) return;
      Plotly.relayout(plot, { width: plot.clientWidth }).then(() => { plot.painted = null; uncover(plot); place(); });
    });
    resized.observe(plot);
    stop.signal.addEventListener("abort", () => resized.disconnect());
  } catch (error) {
    plot.textContent = error.message;
    throw error;
  }
}
