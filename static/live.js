"use strict";
// Keep open details and horizontal scroll positions when a part of the page refreshes.

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
