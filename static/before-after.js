"use strict";
// Before and after: two overlaid pictures with a movable divider. Without JavaScript they are side by side, and the form
// loads other pictures from the server.

const box = document.querySelector(".compare");
const form = document.querySelector(".compare-form");

function start() {
  const slide = box.querySelector(".slide");
  const range = slide.querySelector("input");
  const missing = document.querySelector(".missing-picture");
  const chosen = (name) => form.elements[name].selectedOptions[0];
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  function move() {
    box.style.setProperty("--divide", `${range.value}%`);
    const values = { share: range.value, left: chosen("left").dataset.title, right: chosen("right").dataset.title };
    range.setAttribute("aria-valuetext", fill(box.dataset.value, values));
  }

  function show() {
    const face = form.elements.face.value;
    missing.textContent = "";
    for (const side of ["left", "right"]) {
      const { pictures, title } = chosen(side).dataset;
      const image = box.querySelector(`.${side} img`);
      image.alt = fill(box.dataset.alt, { face, title });
      image.src = `${pictures}${encodeURIComponent(face)}.png`;
      box.querySelector(`.${side} figcaption`).textContent = title;
    }
    const fields = new URLSearchParams(location.search);
    for (const name of ["face", "left", "right"]) fields.set(name, form.elements[name].value);
    history.replaceState(null, "", `?${fields}`);
    move();
  }

  // Dragging on the picture moves the divider, too.
  function drag(event) {
    const place = box.querySelector(".right img").getBoundingClientRect();
    range.value = ((event.clientX - place.left) / place.width) * 100;
    move();
  }

  for (const image of box.querySelectorAll("img")) {
    image.addEventListener("pointerdown", (event) => {
      event.target.setPointerCapture(event.pointerId);
      drag(event);
    });
    image.addEventListener("pointermove", (event) => event.target.hasPointerCapture(event.pointerId) && drag(event));
    image.addEventListener("error", () => {
      const { title } = chosen(image.closest("figure").className).dataset;
      missing.textContent = fill(box.dataset.missing, { face: form.elements.face.value, title });
    });
  }
  range.addEventListener("input", move);
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  form.querySelector("button").hidden = true;
  slide.hidden = false;
  box.classList.add("slides");
  move();
}

if (box && form) start();
