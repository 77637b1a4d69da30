"use strict";
// Interactive plots of several runs. The server averages and thins the curves; uPlot draws them. All plots share one
// cursor. Runs and options are in the address.

const DASHES = [[], [9, 4], [3, 3], [10, 4, 3, 4]]; // as in charts.css
const REFRESH = 5000; // ms, while a run is running
const RETRY = 10000;
const form = document.querySelector("#compare");
const message = document.querySelector("#compare-message");
const charts = new Map(); // plots by element
let data = { runs: [], figures: [], x: "" };
let position = null; // x of the cursor
let pending = null;
let request = 0;

const boxes = () => [...form.querySelectorAll(".compared [type=checkbox]")];
const hidden = (number) => !boxes()[number]?.checked;
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const number = (value) =>
  String(Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : +value.toPrecision(4)).replace(/-/g, "−");
const grouped = (value) => value.toLocaleString("en", { maximumFractionDigits: 3 }); // as the server, in all languages
const shown = (value, figure) => (figure.share ? `${(100 * value).toFixed(1)}%` : number(value));

function query(without = "") {
  const fields = new URLSearchParams();
  for (const box of boxes()) if (box.value !== without) fields.append("run", box.value);
  for (const box of boxes()) if (!box.checked && box.value !== without) fields.append("hide", box.value);
  for (const name of ["x", "smooth", "scale"]) if (form.elements[name].value) fields.append(name, form.elements[name].value);
  return fields;
}

async function load() {
  clearTimeout(pending);
  const mine = ++request;
  try {
    const response = await fetch(`${form.dataset.source}?${query()}`, { headers: { Accept: "application/json" } });
    if (mine !== request) return;
    if (response.redirected) return say(form.dataset.ended);
    if (!response.ok) throw new Error(response.statusText);
    data = await response.json();
  } catch {
    if (mine !== request) return;
    say(form.dataset.failed);
    pending = setTimeout(load, RETRY);
    return;
  }
  const known = [...document.querySelectorAll(".run-chart")].map((element) => element.dataset.key);
  say(data.figures.every(({ key }) => known.includes(key)) ? "" : form.dataset.new);
  drawAll();
  if (data.active) pending = setTimeout(() => (document.hidden ? (pending = setTimeout(load, REFRESH)) : load()), REFRESH);
}

function say(text) {
  if (message.textContent !== text) message.textContent = text;
}

function drawAll() {
  for (const element of document.querySelectorAll(".run-chart")) draw(element);
  if (position !== null) moveTo(position);
}

function draw(element) {
  charts.get(element)?.plot.destroy();
  charts.delete(element);
  const figure = data.figures.find(({ key }) => key === element.dataset.key);
  if (!figure || !element.clientWidth) return; // it is in a closed part of the page
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const curves = [{}];
  const faint = new Set(); // numbers of the curves behind their average
  const columns = [];
  // First all that lie behind, then the averages, so that no average is covered.
  for (const behind of [true, false]) {
    for (const line of figure.lines) {
      const averaged = line.smooth[0].length > 0;
      if (behind && !averaged) continue;
      if (behind) faint.add(curves.length);
      const column = averaged && !behind ? line.smooth : line.points;
      const run = data.runs[line.run];
      const stroke = colour(`run-${run.colour}`);
      const dash = behind ? [] : DASHES[run.dash].map((part) => part * devicePixelRatio);
      const single = column[1].filter((value) => value !== null).length === 1;
      const points = { show: !behind && (single || !figure.noisy), size: 6, fill: colour("card"), stroke };
      curves.push({ stroke, dash, points, width: behind ? 1 : 2, alpha: behind ? 0.3 : 1, show: !hidden(line.run) });
      columns.push(column);
    }
  }
  const axis = { stroke: colour("quiet"), font: "12px Inter, sans-serif", grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
  const plot = new uPlot(
    {
      width: element.clientWidth,
      height: element.clientHeight,
      series: curves,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: (_, curve) => (faint.has(curve) ? 0 : 8), fill: (_, curve) => curves[curve].stroke } },
      scales: { x: { time: false, range: () => limits(figure) }, y: figure.log ? { distr: 3, range: (_, low, high) => (low === null ? [1, 10] : [uPlot.rangeLog(low, high, 10, false)[0], roundedUp(high)]) } : { range: spread } },
      axes: [
        { ...axis, values: (_, values) => values.map(grouped), label: data.x, labelSize: 14, labelGap: -4, labelFont: "12px Inter, sans-serif", size: 30 },
        { ...axis, values: (_, values) => values.map((value) => (value === null ? "" : figure.share ? `${Math.round(100 * value)}%` : number(value))), size: (_, values) => 14 + 7 * Math.max(2, ...(values ?? []).map((text) => text.length)) },
      ],
      hooks: { setCursor: [(self) => self.cursor.event && hover(self)] },
    },
    columns.length ? uPlot.join(columns) : [[]],
    element,
  );
  charts.set(element, { plot, figure });
  prepare(element, plot, figure);
  showValues(element, figure, position);
}

function limits(figure) {
  const lines = figure.lines.filter(({ run }) => !hidden(run));
  const ends = lines.flatMap(({ points }) => [points[0][0], points[0].at(-1)]).filter((x) => x !== undefined);
  const [low, high] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  return low < high ? [low, high] : [low - 1, high + 1];
}

function roundedUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return Math.ceil(value / power + 1e-9) * power;
}

function spread(_, low, high) {
  if (low === null) return [0, 1];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.06 || 0.1;
  return [low - room, high + room];
}

// A plot is a slider: pointer, touch and the arrow keys move its cursor.
function prepare(element, plot, figure) {
  element.tabIndex = 0;
  element.setAttribute("role", "slider");
  element.setAttribute("aria-label", element.closest("section").querySelector("h2").textContent);
  const [low, high] = limits(figure);
  element.setAttribute("aria-valuemin", low);
  element.setAttribute("aria-valuemax", high);
  element.setAttribute("aria-valuenow", position ?? high);
  const touched = (event) => {
    if (event.pointerType === "mouse") return;
    const left = event.clientX - plot.over.getBoundingClientRect().left;
    if (plot.data[0].length) moveTo(plot.data[0][plot.posToIdx(left)]);
  };
  plot.over.addEventListener("pointerdown", touched);
  plot.over.addEventListener("pointermove", touched);
  element.onkeydown = (event) => {
    const steps = plot.data[0];
    const far = Math.max(1, Math.round(steps.length / 10));
    const from = position === null ? steps.length - 1 : plot.valToIdx(position);
    const to = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1, PageDown: from - far, PageUp: from + far, Home: 0, End: steps.length - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey || !steps.length) return;
    event.preventDefault();
    moveTo(steps[Math.min(Math.max(to, 0), steps.length - 1)]);
  };
  element.onfocus = () => position === null && plot.data[0].length && moveTo(plot.data[0].at(-1));
}

function hover(plot) {
  const { left, idx } = plot.cursor;
  if (left < 0 || idx === null || idx === undefined) return;
  moveTo(plot.data[0][idx], plot);
}

function moveTo(x, source = null) {
  position = x;
  for (const [element, { plot, figure }] of charts) {
    const { min, max } = plot.scales.x;
    if (plot !== source) plot.setCursor({ left: x < min || x > max ? -10 : plot.valToPos(x, "x"), top: 0 }, false);
    showValues(element, figure, x);
  }
}

function where(x) {
  const texts = form.dataset;
  return form.elements.x.value ? fill(texts.time, { x: grouped(x), unit: data.x }) : fill(texts.step, { x: grouped(x) });
}

// The nearest value, and where it is if that is another place.
function valueAt(line, x, figure) {
  const averaged = line.smooth[0].length > 0;
  const [steps, values] = averaged ? line.smooth : line.points;
  let best = -1;
  for (let index = 0; index < steps.length; index += 1) {
    if (values[index] !== null && (best < 0 || Math.abs(steps[index] - x) < Math.abs(steps[best] - x))) best = index;
  }
  if (best < 0) return form.dataset.none;
  const text = shown(values[best], figure);
  const near = averaged ? (steps.at(-1) - steps[0]) / 200 : 0; // an average changes little over so few steps
  return Math.abs(steps[best] - x) <= near ? text : `${text} ${fill(form.dataset.at, { x: grouped(steps[best]) })}`;
}

function showValues(element, figure, x) {
  const table = element.closest("section").querySelector("table");
  table.querySelector("th.cursor").textContent = x === null ? form.dataset.cursor : where(x);
  const spoken = [];
  for (const line of figure.lines) {
    const row = table.querySelector(`[data-run="${line.run}"]`);
    if (!row) continue;
    row.hidden = hidden(line.run);
    row.querySelector(".last").textContent = line.last;
    const best = row.querySelector(".best");
    if (best) best.textContent = line.best;
    const value = x === null ? "–" : valueAt(line, x, figure);
    row.querySelector(".cursor").textContent = value;
    if (!row.hidden) spoken.push(`${boxes()[line.run].value} ${value}`);
  }
  if (x === null) return;
  element.setAttribute("aria-valuenow", x);
  element.setAttribute("aria-valuetext", `${where(x)}: ${spoken.join(", ")}`);
}

function remember() {
  history.replaceState(null, "", `?${query()}`);
}

function start() {
  form.addEventListener("change", ({ target }) => {
    if (target.name === "run" && target.type !== "checkbox") return; // “Apply” adds it
    remember();
    if (target.type === "checkbox") return drawAll();
    if (target.name === "x") position = null;
    load();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = query();
    const added = form.querySelector("select[name=run]")?.value;
    if (added) fields.append("run", added);
    location.assign(`?${fields}`);
  });
  for (const button of form.querySelectorAll(".remove")) {
    button.addEventListener("click", () => location.assign(`?${query(button.closest("li").querySelector("input").value)}`));
  }
  for (const details of document.querySelectorAll("details.more")) details.addEventListener("toggle", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) charts.get(target)?.plot.setSize({ width: target.clientWidth, height: target.clientHeight });
  });
  for (const element of document.querySelectorAll(".run-chart")) sizes.observe(element);
  load();
}

if (form) start();
