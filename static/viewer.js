"use strict";
// The viewer zooms and moves both images of a pair together. It counts the uses of each tool for the answer.

const viewer = (() => {
  const LIGHTS = [1, 1.5, 2.2];
  const MAX_ZOOM = 16;
  const view = { zoom: 1, x: 0.5, y: 0.5, part: "", light: 0, slider: false, divide: 50, swap: false, input: false, flip: "left" };
  const tools = document.querySelector(".viewer-tools");
  const pointers = new Map();
  let gesture = null;
  let lastWheel = -Infinity;

  const item = () => document.querySelector("#pairs .item:not(.ahead)");
  const pane = () => item()?.querySelector(".pane.left");
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  function used(tool) {
    const current = item();
    if (!current) return;
    const counts = JSON.parse(current.dataset.tools || "{}");
    counts[tool] = (counts[tool] || 0) + 1;
    current.dataset.tools = JSON.stringify(counts);
  }

  // The zoom at which one image pixel is one screen pixel, relative to "fit".
  function pixelZoom() {
    const image = pane()?.querySelector("img");
    const width = pane()?.getBoundingClientRect().width;
    if (!image?.naturalWidth || !width) return 1;
    return image.naturalWidth / (width * window.devicePixelRatio);
  }

  function draw() {
    const current = item();
    if (!current) return;
    view.zoom = clamp(view.zoom, Math.min(1, pixelZoom()), MAX_ZOOM);
    const half = Math.min(0.5, 0.5 / view.zoom);
    view.x = clamp(view.x, half, 1 - half);
    view.y = clamp(view.y, half, 1 - half);
    const set = (name, value) => current.style.setProperty(name, value);
    set("--zoom", view.zoom);
    set("--move-x", `${(0.5 - view.x * view.zoom) * 100}%`);
    set("--move-y", `${(0.5 - view.y * view.zoom) * 100}%`);
    set("--light", LIGHTS[view.light]);
    set("--divide", `${view.divide}%`);
    // At this zoom, show hard pixels instead of the browser's interpolation.
    current.classList.toggle("crisp", view.zoom > 1 && view.zoom >= 2 * pixelZoom());
    current.classList.toggle("zoomed", view.zoom > 1);
    current.classList.toggle("overlaid", view.slider);
    current.classList.toggle("swapped", view.swap);
    current.classList.toggle("shows-input", view.input);
    current.querySelector(".divide").hidden = !view.slider;
    current.dataset.flip = view.flip;
    for (const button of current.querySelectorAll("[data-flip]")) {
      button.setAttribute("aria-pressed", button.dataset.flip === view.flip);
    }
    markSeen(current);
    sayScale();
    const press = (name, value) => tools?.querySelector(name)?.setAttribute("aria-pressed", value);
    press("[data-view=slider]", view.slider);
    press("[data-view=pixels]", Math.abs(view.zoom - pixelZoom()) < 1e-6);
    press("[data-hold=swap]", view.swap);
    press("[data-hold=input]", view.input);
    press("[data-view=light]", view.light > 0);
    for (const button of tools?.querySelectorAll("[data-part]") ?? []) {
      button.setAttribute("aria-pressed", button.dataset.part === view.part);
      button.disabled = !(button.dataset.part in parts());
    }
    const range = tools?.querySelector(".divide-range");
    if (range) {
      range.hidden = !view.slider;
      range.querySelector("input").value = view.divide;
    }
  }

  // Where one image is shown at a time, the answers are disabled until both were shown.
  function markSeen(current) {
    for (const side of ["left", "right"]) if (!isSingle() || view.flip === side) current.classList.add(`saw-${side}`);
    const both = current.matches(".saw-left.saw-right");
    current.classList.toggle("half-seen", !both);
    for (const button of current.querySelectorAll("button[name=answer]")) button.disabled = !both;
  }

  // Say how large an image pixel is on the screen.
  function sayScale() {
    const line = tools?.querySelector(".scale");
    if (!line) return;
    const scale = view.zoom / pixelZoom();
    const isExact = Math.abs(scale - 1) < 0.005;
    line.textContent = isExact ? line.dataset.saysExact : line.dataset.saysScale.replace("#", scale.toFixed(2));
  }

  // Where one image is shown at a time, show this one, or the other one.
  function flip(name = view.flip === "left" ? "right" : "left") {
    if (view.flip !== name) used("flip");
    view.flip = name;
    draw();
  }

  const isSingle = () => window.matchMedia("(max-width: 48rem)").matches && !view.slider;

  function parts() {
    const script = item()?.querySelector("script[type='application/json']");
    return script ? JSON.parse(script.textContent) : {};
  }

  function zoomTo(zoom, point = [view.x, view.y]) {
    const before = view.zoom;
    view.zoom = clamp(zoom, Math.min(1, pixelZoom()), MAX_ZOOM);
    // Keep the point under the pointer.
    const kept = before / view.zoom;
    view.x = point[0] + (view.x - point[0]) * kept;
    view.y = point[1] + (view.y - point[1]) * kept;
    view.part = "";
    draw();
  }

  // The position of an event in the image, as fractions of its size.
  function placeOf(event) {
    const box = event.target.closest(".pane").getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    const down = (event.clientY - box.top) / box.height;
    return [view.x + (across - 0.5) / view.zoom, view.y + (down - 0.5) / view.zoom];
  }

  function jump(name) {
    const place = parts()[name];
    if (!place) return;
    if (view.part === name) return reset();
    [view.x, view.y, view.zoom] = place;
    view.part = name;
    used("jump");
    draw();
  }

  function reset() {
    Object.assign(view, { zoom: 1, x: 0.5, y: 0.5, part: "" });
    draw();
  }

  const actions = {
    in: () => (used("zoom"), zoomTo(view.zoom * 1.5)),
    out: () => (used("zoom"), zoomTo(view.zoom / 1.5)),
    fit: reset,
    pixels: () => {
      used("pixels");
      if (Math.abs(view.zoom - pixelZoom()) < 1e-6) return reset();
      return zoomTo(pixelZoom());
    },
    slider: () => {
      view.slider = !view.slider;
      if (view.slider) used("slider");
      draw();
    },
    light: () => {
      view.light = (view.light + 1) % LIGHTS.length;
      used("brightness");
      draw();
    },
  };

  function hold(name, on) {
    if (view[name] === on) return;
    if (on && name === "input" && !loadInput()) return;
    view[name] = on;
    if (on) used(name);
    draw();
  }

  function loadInput() {
    const input = item()?.querySelector(".pane.input");
    if (!input) return false;
    input.hidden = false;
    const image = input.querySelector("img");
    if (!image.getAttribute("src")) image.src = input.dataset.src;
    return true;
  }

  function move(across, down) {
    if (view.zoom <= 1) return false;
    used("pan");
    view.x += across / view.zoom;
    view.y += down / view.zoom;
    view.part = "";
    draw();
    return true;
  }

  // Move by an arrow key; return whether there was anything to move.
  function key(name) {
    const step = 0.15;
    const arrows = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const arrow = arrows[name];
    if (!arrow) return false;
    if (move(...arrow)) return true;
    if (!view.slider || !arrow[0]) return false;
    view.divide = clamp(view.divide + Math.sign(arrow[0]) * 5, 0, 100);
    draw();
    return true;
  }

  function startGesture(event) {
    const selector = isSingle() ? ".item:not(.ahead) .pane" : ".item:not(.ahead) .pane:not(.reference)";
    if (!event.target.closest(selector) || event.button > 0) return;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    event.target.setPointerCapture(event.pointerId);
    gesture = { ...view, moved: false, span: span(), target: event.target, pointers: new Map(pointers) };
  }

  function span() {
    if (pointers.size < 2) return 0;
    const [[x, y], [u, v]] = [...pointers.values()];
    return Math.hypot(x - u, y - v);
  }

  function followGesture(event) {
    if (!gesture || !pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const box = gesture.target.closest(".pane").getBoundingClientRect();
    if (pointers.size >= 2 && gesture.span) {
      if (!gesture.moved) used("zoom");
      view.zoom = (gesture.zoom * span()) / gesture.span;
    } else if (view.zoom > 1) {
      const [x, y] = gesture.pointers.get(event.pointerId);
      const across = (event.clientX - x) / box.width / view.zoom;
      const down = (event.clientY - y) / box.height / view.zoom;
      if (!gesture.moved && Math.hypot(event.clientX - x, event.clientY - y) < 3) return;
      if (!gesture.moved) used("pan");
      view.x = gesture.x - across;
      view.y = gesture.y - down;
    } else if (view.slider) {
      view.divide = clamp(((event.clientX - box.left) / box.width) * 100, 0, 100);
    } else return;
    gesture.moved = true;
    view.part = "";
    draw();
  }

  function endGesture(event) {
    if (!pointers.delete(event.pointerId)) return;
    if (event.type === "pointerup" && isSingle() && !gesture.moved && !pointers.size) flip();
    gesture = pointers.size ? { ...view, moved: false, span: 0, target: gesture.target, pointers: new Map(pointers) } : null;
  }

  function wheel(event) {
    if (!event.target.closest?.(".item:not(.ahead) .pane") || (!event.ctrlKey && Math.abs(event.deltaY) < 1)) return;
    event.preventDefault();
    if (event.timeStamp - lastWheel > 600) used("zoom"); // a turn of the wheel fires many events
    lastWheel = event.timeStamp;
    zoomTo(view.zoom * Math.exp(-event.deltaY / 300), placeOf(event));
  }

  function start() {
    if (tools) {
      tools.addEventListener("click", ({ target }) => {
        const button = target.closest("button");
        if (button?.dataset.view) actions[button.dataset.view]();
        if (button?.dataset.part) jump(button.dataset.part);
      });
      for (const button of tools.querySelectorAll("[data-hold]")) {
        const name = button.dataset.hold;
        button.addEventListener("pointerdown", (event) => {
          button.setPointerCapture(event.pointerId);
          hold(name, true);
        });
        for (const end of ["pointerup", "pointercancel"]) button.addEventListener(end, () => hold(name, false));
        // For users who cannot hold a key: pressing the focused button toggles it.
        button.addEventListener("click", (event) => event.detail === 0 && hold(name, !view[name]));
        button.addEventListener("contextmenu", (event) => event.preventDefault());
      }
      tools.querySelector(".divide-range input").addEventListener("input", ({ target }) => {
        view.divide = Number(target.value);
        draw();
      });
    }
    const pairs = document.getElementById("pairs");
    pairs.addEventListener("click", ({ target }) => {
      const button = target.closest("button[data-flip]");
      if (button) flip(button.dataset.flip);
    });
    pairs.addEventListener("pointerdown", startGesture);
    pairs.addEventListener("pointermove", followGesture);
    for (const end of ["pointerup", "pointercancel"]) pairs.addEventListener(end, endGesture);
    pairs.addEventListener("wheel", wheel, { passive: false });
    pairs.addEventListener("dblclick", (event) => {
      if (!event.target.closest(".pane")) return;
      used("pixels");
      view.zoom > 1 ? reset() : zoomTo(Math.max(2, 2 * pixelZoom()), placeOf(event));
    });
    window.addEventListener("resize", draw);
    window.addEventListener("blur", () => (hold("swap", false), hold("input", false)));
    draw();
  }

  // Reset the view for each new pair, except the slider.
  function next() {
    Object.assign(view, { zoom: 1, x: 0.5, y: 0.5, part: "", light: 0, swap: false, input: false, flip: "left", divide: 50 });
    if (view.slider) used("slider");
    draw();
  }

  if (document.getElementById("pairs")) start();
  return { next, draw, key, hold, used };
})();
