// One step of the browser's history for one thing that somebody does. Streamlit makes one of every address that it comes
// through: a link to another page leads over the old page with the new one's words, and a first visit over its run's name.
{
  let acted = false; // since the last step
  const act = () => { acted = true; };
  addEventListener("pointerdown", act, true);
  addEventListener("keydown", act, true);
  addEventListener("click", (event) => event.detail === 0 && act(), true); // of a screen reader
  const [push, replace] = [history.pushState.bind(history), history.replaceState.bind(history)];
  history.pushState = (...step) => {
    (acted ? push : replace)(...step);
    acted = false;
  };
}
