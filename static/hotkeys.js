"use strict";
// Fields for a hotkey take the letter that the desk will see, on every keyboard layout.

document.addEventListener("keydown", (event) => {
  if (!event.target.matches?.("[data-hotkey]")) return;
  const key = keys.letter(event);
  if (!key) return;
  event.preventDefault();
  event.target.value = key;
});
