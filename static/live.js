"use strict";
// Keep open details and horizontal scroll positions when a part of the page refreshes, and say when it cannot.

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

// A page that refreshes itself must not look as if it were up to date.
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  document.getElementById("no-answer").hidden = Boolean(detail.successful);
});
