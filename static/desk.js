"use strict";
// The judging desk: keys, the clock, pictures decoded ahead, and answers sent again until they are stored.

const decodedAhead = new Map();
let shownAt = null;
let retry = null;

const desk = () => document.getElementById("desk");

function decodeAhead() {
  const addresses = (desk()?.dataset.upcoming || "").split(" ").filter(Boolean);
  for (const kept of decodedAhead.keys()) if (!addresses.includes(kept)) decodedAhead.delete(kept);
  for (const address of addresses) {
    if (decodedAhead.has(address)) continue;
    const image = new Image();
    image.src = address;
    decodedAhead.set(address, image);
    image.decode().catch(() => decodedAhead.delete(address)); // the page's own <img> will try again and show why
  }
}

function useDecodedImages() {
  for (const image of desk()?.querySelectorAll("img") ?? []) {
    const ready = decodedAhead.get(image.getAttribute("src"));
    if (!ready) continue;
    for (const { name, value } of image.attributes) if (name !== "src") ready.setAttribute(name, value);
    image.replaceWith(ready);
  }
}

async function startClock() {
  shownAt = null;
  const images = [...(desk()?.querySelectorAll("img") ?? [])];
  await Promise.allSettled(images.map((image) => image.decode()));
  shownAt = performance.now();
}

function deskShown() {
  useDecodedImages();
  decodeAhead();
  startClock();
}

function tellConnection(text) {
  const line = document.getElementById("connection");
  line.hidden = !text;
  line.textContent = text;
}

document.addEventListener("DOMContentLoaded", deskShown);
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id !== "desk" && event.detail.elt.id !== "desk") return;
  deskShown();
});

document.addEventListener("htmx:configRequest", (event) => {
  if (!event.detail.elt.matches?.("[data-answer]")) return;
  // An answer that is sent again keeps the time of its first sending.
  const form = event.detail.elt;
  if (shownAt !== null) form.dataset.seconds ??= ((performance.now() - shownAt) / 1000).toFixed(2);
  event.detail.parameters.set("seconds", form.dataset.seconds ?? "");
});

// The form keeps its key, so sending it again can only store the one answer.
function sendAgain(event) {
  const form = event.detail.elt;
  if (!form.closest?.("#desk")) return;
  const button = event.detail.requestConfig?.triggeringEvent?.submitter;
  tellConnection("The connection is lost. Your answer is not stored yet; it is sent again by itself.");
  clearTimeout(retry);
  retry = setTimeout(() => form.isConnected && form.requestSubmit(button ?? undefined), 1500);
}
for (const failure of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) document.addEventListener(failure, sendAgain);
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== "desk") return;
  clearTimeout(retry);
  retry = null;
  tellConnection("");
});
window.addEventListener("beforeunload", (event) => {
  if (retry !== null) event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "Escape") document.querySelector("details[open]")?.removeAttribute("open");
  // A focused button or link keeps its own Enter and Space.
  if (event.key === " " && event.target.closest("button, a, summary")) return;
  const control = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!control || control.disabled) return;
  event.preventDefault();
  control.click();
  if (control.matches("summary")) control.parentElement.querySelector("select")?.focus();
});
