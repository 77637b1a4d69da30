"use strict";
// Keyboard shortcuts for buttons and links on pages other than the desk.

document.addEventListener("keydown", (event) => {
  const key = event.repeat ? "" : keys.pressed(event);
  const control = key && document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!control) return;
  event.preventDefault();
  control.click();
});
