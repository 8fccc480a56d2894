// What both components share: plotly.js, loaded once a page from this server, and what can be done with a figure.

const PLOTLY = "/vendor/plotly-cartesian-4.1.1.min.js";

function plotly() {
  window.forgetscopePlotly ??= new Promise((resolve, reject) => {
    if (window.Plotly) {
      resolve(window.Plotly);
      return;
    }
    // The page asks for it itself (dashboard/server/first_page.py). Once all is loaded and it is not there, that failed.
    const asked = document.readyState === "complete" ? null : document.querySelector(`script[src="${PLOTLY}"]`);
    const script = asked ?? document.createElement("script");
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => reject(new Error("plotly.js could not be loaded")));
    if (asked) return;
    script.src = PLOTLY;
    document.head.append(script);
  });
  return window.forgetscopePlotly;
}

// What is not the picture that a page is about lets that one be seen first, where it is not there itself already. A page
// that nobody looks at has no frames.
function afterThePicture(plot) {
  if (plot.dataset.drawn) return null;
  const frame = new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  return Promise.race([frame, new Promise((resolve) => setTimeout(resolve, 200))]);
}

// What a component is given: its figure, and what belongs to it, come as one text (`drawn` in dashboard/widgets/plot.py).
function whole({ drawn, ...more }) {
  return { ...JSON.parse(drawn), ...more };
}

const OPTIONS = { displayModeBar: false, responsive: false, showTips: false };

function css(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

// A file from the browser's memory; nothing is sent anywhere.
function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Text is quoted, and what a spreadsheet would run as a formula disarmed, as in core/util/csv_safe.py.
function field(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const formula = /^(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/.test(value);
  const number = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(value);
  return `"${(formula && !number ? `'${value}` : String(value)).replaceAll('"', '""')}"`;
}

function csv(columns) {
  const names = Object.keys(columns);
  const rows = [names];
  for (let i = 0; i < (columns[names[0]] ?? []).length; i++) rows.push(names.map((name) => columns[name][i]));
  return rows.map((row) => row.map(field).join(",")).join("\n") + "\n";
}

// Python escaped what plotly would read as HTML; a file holds the text itself.
function unescaped(text) {
  return String(text).replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

// The points of every trace that can be read off the chart.
function points(figure) {
  const columns = { series: [], x: [], y: [], text: [] };
  for (const trace of figure.data) {
    if (trace.hoverinfo === "skip" || trace.type === "heatmap") continue;
    const y = trace.y ?? [];
    for (let i = 0; i < y.length; i++) {
      columns.series.push(unescaped(trace.name ?? ""));
      columns.x.push(trace.x ? trace.x[i] : i);
      columns.y.push(y[i]);
      columns.text.push(Array.isArray(trace.text) ? unescaped(trace.text[i]) : "");
    }
  }
  return columns;
}

// Labels that Python chose for a wide chart: on a narrow one only as many as have room.
function fitting(layout, width) {
  const axis = layout.xaxis, many = axis?.tickvals?.length ?? 0, every = Math.ceil((many * 22) / Math.max(1, width - 60));
  if (!axis?.ticktext || every < 2) return { ...layout, width };
  const some = (all) => all.filter((_, i) => i % every === 0);
  return { ...layout, width, xaxis: { ...axis, tickvals: some(axis.tickvals), ticktext: some(axis.ticktext) } };
}

// Names beside points: on a narrow chart they would lie over each other; a pointer still tells them.
function drawn(traces, width) {
  return width >= 560 ? traces : traces.map((trace) => (trace.mode === "markers+text" ? { ...trace, mode: "markers" } : trace));
}

async function picture(figure, format, name, box) {
  const Plotly = await plotly();
  const paper = css(box, "--st-background-color") || "#fff";
  const layout = { ...figure.layout, paper_bgcolor: paper, plot_bgcolor: paper };
  const width = Math.max(640, Math.round(box.clientWidth));
  await Plotly.downloadImage({ data: figure.data, layout, config: OPTIONS }, {
    format, filename: name, width, height: figure.layout.height, scale: format === "png" ? 2 : 1,
  });
}

// What every plot has: a name for screen readers, a height before it is drawn, and its tools.
function dress(box, plot, role, { figure, name, alt, facts, columns }, data, image) {
  plot.setAttribute("role", role);
  plot.setAttribute("aria-label", alt);
  plot.style.minHeight = `${figure.layout.height}px`;
  toolbar(box.querySelector(".fs-tools"), [
    ["CSV", data, () => save(`${name}.csv`, "text/csv", csv(columns ?? points(figure)))],
    ["PNG", `${image} as an image`, () => picture(figure, "png", name, box)],
    ["SVG", `${image} as a drawing`, () => picture(figure, "svg", name, box)],
    ["Full screen", "Esc brings you back", () => fullScreen(box)],
  ], facts);
}

// The quiet row under a chart: where its numbers are from, and how to take it along.
function toolbar(row, actions, facts) {
  const panel = document.createElement("dl");
  panel.className = "fs-facts";
  panel.hidden = true;
  for (const [label, text] of facts ?? []) {
    const term = document.createElement("dt");
    const words = document.createElement("dd");
    term.textContent = label;
    words.textContent = text;
    panel.append(term, words);
  }
  const buttons = [];
  if (facts?.length) {
    const from = button("Where from", "Run, file and formula behind this chart");
    from.setAttribute("aria-expanded", "false");
    from.onclick = () => {
      panel.hidden = !panel.hidden;
      from.setAttribute("aria-expanded", String(!panel.hidden));
    };
    buttons.push(from);
  }
  for (const [label, help, act] of actions) {
    const made = button(label, help);
    made.onclick = act;
    buttons.push(made);
  }
  row.replaceChildren(...buttons, panel);
}

function button(label, help) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "fs-tool";
  made.textContent = label;
  made.title = help;
  return made;
}

function fullScreen(box) {
  if (document.fullscreenElement) document.exitFullscreen();
  else box.requestFullscreen?.();
}
