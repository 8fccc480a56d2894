// The slides of a report on a page: a preview that can fill the screen, and a live question on the fourth slide.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fs-present");
  if (root.stamp !== data.stamp) build(root, data);
  const box = root.querySelector(".slides");
  box.classList.toggle("dark", data.dark);
  box.classList.toggle("light", !data.dark);
  root.send = setTriggerValue;
  showAnswers(root, data.live);
  return () => {
    clearInterval(root.clock);
    root.slides?.close();
  };
}

function build(root, data) {
  const stage = root.querySelector(".fs-stage"), start = root.querySelector(".fs-start"), at = root.slides?.at() ?? 0;
  root.slides?.close();
  root.stamp = data.stamp;
  root.live = undefined;
  // The server escaped every text in it; markup written this way runs no script.
  stage.innerHTML = data.html;
  const box = root.querySelector(".slides");
  root.slides = forgetscopeSlides(box, () => {
    root.presenting = false;
    box.classList.add("inline");
    start.focus();
  });
  root.slides.show(at);
  stage.classList.add("covered");
  box.addEventListener("reveal", () => stage.classList.toggle("covered"));
  root.onfullscreenchange = () => { if (root.presenting && !document.fullscreenElement) root.slides.end(); };
  start.onclick = () => {
    root.presenting = true;
    box.classList.remove("inline");
    root.slides.open();
    root.slides.fullScreen();
    root.send("opened", true);
  };
  // Another run came while these slides were presented: it goes on where they were.
  if (root.presenting) root.slides.open();
  else box.classList.add("inline");
  live(root, box.querySelector("[data-live]"));
  box.querySelector(".nav").prepend(runs(root, data));
}

function runs(root, data) {
  const choice = document.createElement("select");
  choice.className = "runs";
  choice.setAttribute("aria-label", "Run");
  for (const [id, name] of data.runs) choice.add(new Option(name, id, false, id === data.run));
  choice.onchange = () => {
    root.send("run", choice.value);
    choice.disabled = true;  // until its slides are here
    root.querySelector(".slides").focus({ preventScroll: true });
  };
  return choice;
}

function live(root, slide) {
  const form = document.createElement("form");
  form.className = "live";
  const input = document.createElement("input");
  input.maxLength = 4000;
  input.placeholder = "Ask the model itself";
  input.setAttribute("aria-label", "Ask the model itself");
  const ask = document.createElement("button");
  ask.textContent = "Ask";
  form.append(input, ask);
  form.onsubmit = (event) => {
    event.preventDefault();
    if (!input.value.trim()) return;
    root.send("asked", input.value.trim());
    input.value = "";
    root.querySelector(".slides").focus({ preventScroll: true });  // so that the arrows change slides again
  };
  const answers = document.createElement("div");
  answers.className = "asked-live";
  answers.setAttribute("aria-live", "polite");
  slide.querySelector(".kicker").after(form, answers);
}

// Pieces of an answer, [text, is it covered], as the recorded ones on the slide are written.
function told(element, pieces) {
  for (const [text, covered] of pieces) {
    if (!covered) {
      element.append(text);
      continue;
    }
    const secret = document.createElement("span"), word = document.createElement("b");
    secret.className = "secret";
    word.textContent = text;
    secret.append(word);
    element.append(secret);
  }
  return element;
}

function showAnswers(root, live) {
  const box = root.querySelector(".asked-live"), recorded = [...root.querySelectorAll(".asked")], shown = JSON.stringify(live);
  if (root.live === shown) return;
  root.live = shown;
  clearInterval(root.clock);
  box.replaceChildren();
  box.hidden = !live;
  if (!live) return;
  recorded.forEach((one) => { one.hidden = true; });
  const line = (kind, text, tag = "p") => {
    const element = document.createElement(tag);
    element.className = kind;
    element.dir = "auto";
    element.textContent = text;
    return element;
  };
  const note = line(live.waits ? "line quiet" : "small quiet", live.note);
  box.append(line("question", live.question), note);
  // What the server waits for stands on the page, where the full screen hides it.
  if (live.waits) root.clock = setInterval(() => { note.textContent = document.querySelector(".st-key-asking")?.textContent || note.textContent; }, 200);
  if (!live.answers) return;
  if (live.unknown) box.append(line("line unknown", live.unknown));
  const pair = line("pair", "", "div");
  for (const { voice, title, text, verdict, ...judged } of live.answers) {
    const pane = line(`said ${voice}`, "", "div"), who = line("who", `${title} `);
    if (verdict) who.append(line(`verdict ${judged.class}`, verdict, "span"));
    pane.append(who, told(line("", text.length ? "" : "(empty answer)"), text));
    pair.append(pane);
  }
  box.append(pair);
  if (live.nearest) {
    const ask = line("nearest", `Ask the nearest question it was taught: “${live.nearest}”`, "button");
    ask.type = "button";
    ask.onclick = () => root.send("nearest", true);
    box.append(ask);
  }
}
