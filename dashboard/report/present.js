// The slides of a report on a page: a preview that can fill the screen, and a live question on the fourth slide.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fs-present");
  if (root.stamp !== data.stamp) build(root, data);
  const box = root.querySelector(".slides");
  box.classList.toggle("dark", data.dark);
  box.classList.toggle("light", !data.dark);
  root.send = setTriggerValue;
  showAnswers(root, data.live);
  return () => root.slides?.close();
}

function build(root, data) {
  root.slides?.close();
  root.stamp = data.stamp;
  root.live = undefined;
  // The server escaped every text in it; markup written this way runs no script.
  root.querySelector(".fs-stage").innerHTML = data.html;
  const box = root.querySelector(".slides"), start = root.querySelector(".fs-start");
  const leave = () => {
    box.classList.add("inline");
    root.slides.close();
    start.focus();
  };
  root.slides = forgetscopeSlides(box, leave);
  box.classList.add("inline");
  root.querySelector(".fs-stage").classList.add("covered");
  box.addEventListener("reveal", () => root.querySelector(".fs-stage").classList.toggle("covered"));
  box.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) leave(); });
  start.onclick = () => {
    box.classList.remove("inline");
    root.slides.open();
    root.slides.fullScreen();
    root.send("opened", true);
  };
  live(root, box.querySelector("[data-live]"));
}

function live(root, slide) {
  const form = document.createElement("form");
  form.className = "live";
  const input = document.createElement("input");
  input.maxLength = 2000;
  input.placeholder = "Ask the model itself";
  input.setAttribute("aria-label", "Ask the model itself");
  const ask = document.createElement("button");
  ask.textContent = "Ask";
  form.append(input, ask);
  form.onsubmit = (event) => {
    event.preventDefault();
    if (!input.value.trim()) return;
    root.send("asked", input.value.trim());
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
  box.append(line("question", live.question), line("small quiet", live.note));
  if (live.before === undefined) return;
  const pair = line("pair", "", "div");
  for (const [voice, title] of [["before", "Before"], ["after", "After"]]) {
    const pane = line(`said ${voice}`, "", "div");
    pane.append(line("who", title), told(line("", live[voice].length ? "" : "(empty answer)"), live[voice]));
    pair.append(pane);
  }
  box.append(pair);
}
