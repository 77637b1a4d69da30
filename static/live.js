"use strict";
// A part of the page that looks again: what was unfolded or scrolled sideways in it stays so.

const kept = new Map();

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (!detail.shouldSwap) return;
  for (const { id, open, scrollLeft } of detail.target.querySelectorAll("[id]")) kept.set(id, { open, scrollLeft });
});

document.addEventListener("htmx:afterSettle", () => {
  for (const [id, { open, scrollLeft }] of kept) {
    const element = document.getElementById(id);
    if (element && open) element.open = true;
    if (element) element.scrollLeft = scrollLeft;
  }
  kept.clear();
});
