"use strict";
// Draw the circle of an example: drag on the worse image, or change the numbers.

for (const form of document.querySelectorAll("form[data-circle]")) {
  const field = (name) => form.elements[name];
  const figures = [...form.querySelectorAll("figure[data-side]")];
  const worse = () => field("better").value && figures.find(({ dataset }) => dataset.side !== field("better").value);
  let centre = null;

  function draw() {
    for (const svg of form.querySelectorAll("svg.circle")) svg.remove();
    const [x, y, radius] = ["x", "y", "radius"].map((name) => field(name).value.replace(",", "."));
    if (!worse() || !x || !y || !radius) return;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("class", "circle");
    for (const name of ["halo", ""]) {
      const circle = document.createElementNS(svg.namespaceURI, "circle");
      for (const [key, value] of Object.entries({ class: name, cx: x, cy: y, r: radius })) circle.setAttribute(key, value);
      svg.append(circle);
    }
    worse().querySelector(".circled").append(svg);
  }

  function point(event, figure) {
    const box = figure.querySelector("img").getBoundingClientRect();
    const share = (value, size) => Math.min(100, Math.max(0, (100 * value) / size));
    return [share(event.clientX - box.left, box.width), share(event.clientY - box.top, box.height)];
  }

  for (const figure of figures) {
    const picture = figure.querySelector(".circled");
    picture.addEventListener("pointerdown", (event) => {
      if (figure !== worse() || event.button) return;
      event.preventDefault();
      picture.setPointerCapture(event.pointerId);
      centre = point(event, figure);
    });
    picture.addEventListener("pointermove", (event) => {
      if (!centre) return;
      const [x, y] = point(event, figure);
      field("x").value = centre[0].toFixed(1);
      field("y").value = centre[1].toFixed(1);
      field("radius").value = Math.min(50, Math.max(1, Math.hypot(x - centre[0], y - centre[1]))).toFixed(1);
      draw();
    });
    for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => (centre = null));
  }
  form.addEventListener("input", draw);
  draw();
}
