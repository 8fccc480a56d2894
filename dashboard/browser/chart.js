// One chart: any plotly figure, with clicks reported to Python.

export default function ({ data: given, parentElement, setTriggerValue }) {
  const data = whole(given);
  const box = parentElement.querySelector(".fs-box");
  const plot = box.querySelector(".fs-plot");
  const { figure, selectable } = data;
  box.setAttribute("role", "group");
  dress(box, plot, "img", data, "The data of this chart", "The chart");
  let ended = false;
  Promise.all([plotly(), afterThePicture(plot)]).then(async ([Plotly]) => {
    if (ended) return;
    await Plotly.react(plot, drawn(figure.data, plot.clientWidth), fitting(figure.layout, plot.clientWidth), OPTIONS);
    plot.removeAllListeners?.("plotly_click");
    if (selectable) plot.on("plotly_click", (event) => setTriggerValue("clicked", event.points[0]?.customdata ?? null));
    plot.dataset.drawn = "true";
  }).catch((error) => { plot.textContent = error.message; });
  const resized = new ResizeObserver(() => {
    if (plot.dataset.drawn && window.Plotly && plot.clientWidth) window.Plotly.react(plot, drawn(figure.data, plot.clientWidth), fitting(figure.layout, plot.clientWidth), OPTIONS);
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
