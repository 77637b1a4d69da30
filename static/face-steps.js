"use strict";
// A slider through the steps of a grid of faces: the pictures of the step are exchanged in place, and those of the steps
// beside it are loaded in advance. Without JavaScript a form and links load the step from the server.

const steps = () => document.querySelector("#faces-slide");
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function show(range) {
  const section = document.querySelector("#faces");
  const texts = section.dataset;
  const folder = texts.steps.split(" ")[range.value];
  const step = Number(folder).toLocaleString("en");
  const title = fill(texts.caption, { step });
  document.querySelector("#faces-title").textContent = fill(texts.title, { step });
  range.setAttribute("aria-valuetext", step);
  section.querySelector("#faces-slide-step").textContent = step;
  for (const figure of section.querySelectorAll(".at-step")) {
    const { face } = figure.dataset;
    figure.querySelector("figcaption").textContent = title;
    figure.querySelector(".missing").hidden = true;
    const link = figure.querySelector("a");
    link.hidden = false;
    const file = address(texts, folder, face);
    link.href = file;
    const image = link.querySelector("img");
    image.alt = fill(texts.alt, { face, title });
    image.src = file;
  }
  const fields = new URLSearchParams(location.search);
  if (range.value === range.max) fields.delete("step");
  else fields.set("step", Number(folder));
  history.replaceState(null, "", `${location.pathname}${fields.size ? `?${fields}` : ""}`);
  preload(section, range);
}

const address = (texts, folder, face) => `${texts.pictures}${folder}/${encodeURIComponent(face)}.png`;

function preload(section, range) {
  const folders = section.dataset.steps.split(" ");
  const near = [folders[+range.value - 1], folders[+range.value + 1]].filter(Boolean);
  for (const figure of section.querySelectorAll(".at-step")) {
    const { top, bottom } = figure.getBoundingClientRect();
    if (bottom < -innerHeight || top > 2 * innerHeight) continue;
    for (const folder of near) new Image().src = address(section.dataset, folder, figure.dataset.face);
  }
}

document.addEventListener("input", ({ target }) => target.id === "faces-slide" && show(target));
document.addEventListener("focusin", ({ target }) => target.id === "faces-slide" && preload(document.querySelector("#faces"), target));
// A picture that is missing: errors of pictures do not bubble.
document.addEventListener(
  "error",
  ({ target }) => {
    const figure = target.closest?.(".at-step");
    if (!figure) return;
    figure.querySelector("a").hidden = true;
    figure.querySelector(".missing").hidden = false;
  },
  true,
);
// A running run shows each new step, unless an earlier one is looked at.
document.addEventListener("htmx:beforeRequest", (event) => {
  const range = steps();
  if (event.target.id === "faces" && range && range.value !== range.max) event.preventDefault();
});
