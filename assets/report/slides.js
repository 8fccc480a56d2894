// The slides: used by the report file and by the app's page. No request, no timer; a slide changes by one class.

function forgetscopeSlides(box, leave) {
  const slides = [...box.querySelectorAll(".slide")], asked = [...box.querySelectorAll(".asked")];
  const at = box.querySelector(".at");
  let slide = 0, question = 0;

  function show(next) {
    slide = Math.max(0, Math.min(slides.length - 1, next));
    slides.forEach((one, i) => one.classList.toggle("on", i === slide));
    at.textContent = `${slide + 1} / ${slides.length}`;
  }
  function ask(step) {
    if (!asked.length) return;
    question = (question + step + asked.length) % asked.length;
    box.querySelector(".asked-live")?.setAttribute("hidden", "");
    asked.forEach((one, i) => { one.hidden = i !== question; });
  }
  // One path: the questions of a slide come before the next slide. After a live answer it goes on.
  function walk(step) {
    const live = box.querySelector(".asked-live:not([hidden])");
    if (!live && slides[slide].hasAttribute("data-live") && asked[question + step]) ask(step);
    else show(slide + step);
  }
  function fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else box.parentElement.requestFullscreen?.().catch(() => {});  // which outlives these slides: others may follow them
  }
  const keys = {
    ArrowRight: () => walk(1), PageDown: () => walk(1), " ": () => walk(1), ArrowLeft: () => walk(-1), PageUp: () => walk(-1),
    Home: () => show(0), End: () => show(slides.length - 1), Escape: end, f: fullScreen,
    r: () => box.dispatchEvent(new CustomEvent("reveal", { bubbles: true })),
    ArrowDown: () => ask(slides[slide]?.hasAttribute("data-live") ? 1 : 0), ArrowUp: () => ask(slides[slide]?.hasAttribute("data-live") ? -1 : 0),
  };
  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, textarea, select")) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || (event.key === " " && event.target.matches?.("button"))) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }
  function clicked(event) {
    const step = event.target.closest?.("[data-go]");
    if (step) walk(Number(step.dataset.go));
    if (event.target.closest?.("[data-end]")) end();
  }
  // While the slides are open, keys are theirs wherever the focus is, before anything else on the page hears them.
  function open() {
    window.addEventListener("keydown", pressed, true);
    box.focus({ preventScroll: true });
  }
  function close() {
    window.removeEventListener("keydown", pressed, true);
  }
  function end() {
    close();
    if (document.fullscreenElement) document.exitFullscreen();
    leave();
  }
  box.addEventListener("click", clicked);
  show(0);
  return { open, close, end, show, at: () => slide, fullScreen };
}
