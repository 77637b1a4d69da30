"use strict";
// Before and after: two overlaid pictures with a movable divider. Without JavaScript they are side by side, and the form
// loads other pictures from the server.

const box = document.querySelector(".compare");
const form = document.querySelector(".compare-form");

function start() {
  const slide = box.querySelector(".slide");
  const range = slide.querySelector("input");
  const chosen = (name) => form.elements[name].selectedOptions[0];

  function move() {
    box.style.setProperty("--divide", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value}% ${chosen("left").text}, the rest ${chosen("right").text}`);
  }

  function show() {
    const face = form.elements.face.value;
    for (const side of ["left", "right"]) {
      const { value, text } = chosen(side);
      const image = box.querySelector(`.${side} img`);
      image.src = `${box.dataset.pictures}${encodeURIComponent(value)}/${encodeURIComponent(face)}.png`;
      image.alt = `face ${face}, ${text}`;
      box.querySelector(`.${side} figcaption`).textContent = text;
    }
    history.replaceState(null, "", `?${new URLSearchParams(new FormData(form))}`);
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
