// The map of one planting. A threshold stands at one of its steps; further to the right is stricter.

function score(value) {
  return Math.abs(value) >= 0.01 || value === 0 ? value.toPrecision(3) : value.toExponential(2);
}

function told({ counts, hits, values, planted }, step) {
  const others = counts[counts.length - 1] - planted;
  const above = `${hits[step]} of the ${planted} planted modules, and ${counts[step] - hits[step]} of the ${others} others.`;
  if (!counts[step]) return `Above all modules: ${above}`;
  return values[step] === null ? `Every module: ${above}` : `At ${score(values[step])} or more: ${above}`;
}

// What lies below is covered; the outlines of what was planted stay as they are, so that a missed one is seen.
function cover(plot, { x, y, counts }, step) {
  const { xaxis, yaxis, width, height } = plot._fullLayout;
  let canvas = plot.querySelector(":scope > canvas");
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.className = "fs-below";
    plot.append(canvas);
  }
  if (canvas.width !== Math.round(width * devicePixelRatio) || canvas.height !== Math.round(height * devicePixelRatio)) {
    Object.assign(canvas, { width: Math.round(width * devicePixelRatio), height: Math.round(height * devicePixelRatio) });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  }
  const pen = canvas.getContext("2d"), left = (c) => xaxis._offset + xaxis.d2p(c), top = (r) => yaxis._offset + yaxis.d2p(r);
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = css(plot, "--st-background-color");
  pen.globalAlpha = 0.8;
  const wide = left(1) - left(0), high = top(1) - top(0);
  for (let i = counts[step]; i < x.length; i++) pen.fillRect(left(x[i] - 0.5), top(y[i] - 0.5), wide, high);
  pen.globalAlpha = 1;
  for (const trace of plot.data) {
    if (trace.type !== "scatter") continue;
    pen.strokeStyle = trace.line.color;
    pen.lineWidth = trace.line.width;
    pen.setLineDash(trace.line.dash ? [2, 2] : []);
    pen.beginPath();
    for (let i = 0; i + 1 < trace.x.length; i += 3) {
      pen.moveTo(left(trace.x[i]), top(trace.y[i]));
      pen.lineTo(left(trace.x[i + 1]), top(trace.y[i + 1]));
    }
    pen.stroke();
  }
}

export default function ({ data: given, parentElement }) {
  const data = whole(given);
  const box = parentElement.querySelector(".fs-box"), plot = box.querySelector(".fs-plot");
  const slider = box.querySelector("input"), output = box.querySelector("output");
  const { figure, counts, start } = data, last = counts.length - 1, stop = new AbortController();
  box.setAttribute("role", "group");
  dress(box, plot, "img", data, "Every module with its place and score", "The picture");
  // Another score or another planting has other steps: it begins where it takes as many as were planted.
  slider.max = String(last);
  slider.value = String(last - start);
  let frame = null;
  const say = () => {
    const words = told(data, last - Number(slider.value));
    output.textContent = words;
    slider.setAttribute("aria-valuetext", words);
  };
  const paint = () => {
    frame = null;
    say();
    if (plot.dataset.drawn === "true") cover(plot, data, last - Number(slider.value));
  };
  slider.addEventListener("input", () => { frame ??= requestAnimationFrame(paint); }, { signal: stop.signal });
  say();
  const draw = async () => {
    const Plotly = await plotly();
    if (stop.signal.aborted) return;
    await Plotly.react(plot, figure.data, fitting(figure.layout, plot.clientWidth), OPTIONS);
    if (stop.signal.aborted) return;
    plot.dataset.drawn = "true";
    paint();
  };
  draw().catch((error) => { plot.textContent = error.message; });
  const resized = new ResizeObserver(() => {
    if (plot.dataset.drawn && plot.clientWidth && plot.clientWidth !== plot._fullLayout?.width) draw();
  });
  resized.observe(plot);
  return () => {
    stop.abort();
    resized.disconnect();
    if (window.Plotly) window.Plotly.purge(plot);
  };
}
