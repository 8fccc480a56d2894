// One chart: any plotly figure, with clicks reported to Python.

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".fs-box");
  const plot = box.querySelector(".fs-plot");
  const { figure, name, facts, columns, selectable } = data;
  box.setAttribute("role", "group");
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", data.alt);
  plot.style.minHeight = `${figure.layout.height}px`;
  toolbar(box.querySelector(".fs-tools"), [
    ["CSV", "The data of this chart", () => save(`${name}.csv`, "text/csv", csv(columns ?? points(figure)))],
    ["PNG", "The chart as an image", () => picture(figure, "png", name, box)],
    ["SVG", "The chart as a drawing", () => picture(figure, "svg", name, box)],
    ["Full screen", "Esc brings you back", () => fullScreen(box)],
  ], facts);
  let ended = false;
  plotly().then(async (Plotly) => {
    if (ended) return;
    await Plotly.react(plot, figure.data, fitting(figure.layout, plot.clientWidth), OPTIONS);
    plot.removeAllListeners?.("plotly_click");
    if (selectable) plot.on("plotly_click", (event) => setTriggerValue("clicked", event.points[0]?.customdata ?? null));
    plot.dataset.drawn = "true";
  }).catch((error) => { plot.textContent = error.message; });
  const resized = new ResizeObserver(() => {
    if (plot.dataset.drawn && window.Plotly && plot.clientWidth) window.Plotly.react(plot, figure.data, fitting(figure.layout, plot.clientWidth), OPTIONS);
  });
  resized.observe(plot);
  const before = box.observer;
  before?.disconnect();
  box.observer = resized;
  return () => {
    ended = true;
    resized.disconnect();
    if (window.Plotly) window.Plotly.purge(plot);
  };
}
