"use strict";
// The judging desk: pairs decoded in advance, unsent answers, keys.
//
// An answer shows the next pair immediately and goes into the outbox, which the browser keeps until the server confirms
// that the answer is stored. It is resent with the same key until then, so it is neither lost nor stored twice.

const desk = document.getElementById("desk");
const pairs = document.getElementById("pairs");
const DELAYS = [500, 1000, 2000, 4000, 8000];

const items = () => [...pairs.querySelectorAll(".item")];
const current = () => pairs.querySelector(".item:not(.ahead)");
const leaseOf = (item) => item.dataset.lease;

// --- display -----------------------------------------------------------------------------------------------------

let shownAt = null;

function decode(item) {
  const images = [...item.querySelectorAll(".pane:not(.input) img")];
  return Promise.allSettled(images.map((image) => image.decode()));
}

function show(item) {
  for (const other of items()) {
    other.classList.toggle("ahead", other !== item);
    other.inert = other !== item;
  }
  shownAt = null;
  if (desk) document.getElementById("waiting").hidden = Boolean(item) || !outbox.waiting();
  if (!item) return;
  const skip = document.querySelector("[data-skip] [name=lease]");
  if (skip) skip.value = leaseOf(item);
  viewer.next();
  decode(item).then(() => {
    if (item !== current()) return;
    shownAt ??= performance.now();
    viewer.draw(); // needs the size of the decoded image
  });
}

function removeItem(item) {
  const hadFocus = item.contains(document.activeElement);
  item.remove();
  show(items()[0]);
  if (hadFocus) current()?.focus({ preventScroll: true });
}

function say(id, text) {
  const line = document.getElementById(id);
  if (!line) return;
  line.hidden = !text;
  line.textContent = text;
}

// --- server responses --------------------------------------------------------------------------------------------

// Add new pairs, sort all held pairs and update the state. With `first`, show the first of them.
function applyUpdate(html, { first = false } = {}) {
  const update = new DOMParser().parseFromString(html, "text/html");
  const state = update.getElementById("state");
  if (!state) return;
  const present = new Set(items().map(leaseOf));
  for (const item of update.querySelectorAll(".item")) {
    if (present.has(leaseOf(item)) || outbox.has(leaseOf(item))) continue;
    pairs.append(item);
    decode(item);
  }
  const held = state.dataset.held.split(",");
  for (const item of items()) if (!held.includes(leaseOf(item))) item.remove();
  const onScreen = first ? null : current();
  const inOrder = items().sort((a, b) => held.indexOf(leaseOf(a)) - held.indexOf(leaseOf(b)));
  for (const item of inOrder) if (item !== onScreen) pairs.append(item);
  document.getElementById("state").replaceWith(state);
  document.querySelector("[data-undo] [name=last]").value = state.dataset.last;
  if (!onScreen) show(items()[0]);
  refreshLater();
}

async function ask(url, body) {
  const headers = { "HX-Request": "true", "HX-Current-URL": location.href };
  const known = [...items().map(leaseOf), ...outbox.leases()];
  headers["X-Known-Leases"] = known.join(",");
  if (body) headers["X-CSRFToken"] = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const response = await fetch(url, {
    method: body ? "POST" : "GET",
    body: body && new URLSearchParams(body),
    headers,
    signal: AbortSignal.timeout(20_000),
  });
  const signIn = response.headers.get("HX-Redirect");
  if (signIn) {
    location.assign(signIn);
    throw new Error("signed out");
  }
  if (response.status >= 500 || response.status === 429) throw new Busy(response.headers.get("Retry-After"));
  // Signed in as someone else, or removed from the campaign: keep what is unsent.
  if (!response.headers.get("X-Desk") && response.status >= 400) throw new Stale();
  return response.text();
}

class Busy extends Error {
  constructor(seconds) {
    super("the server cannot store answers at the moment");
    this.wait = Number(seconds) * 1000 || 0;
  }
}
class Stale extends Error {}

let refreshTimer = null;
function refreshLater() {
  clearTimeout(refreshTimer);
  if (!document.getElementById("state")?.hasAttribute("data-refresh")) return;
  refreshTimer = setTimeout(() => ask(desk.dataset.address).then(applyUpdate, refreshLater), 2000);
}

// --- unsent answers ----------------------------------------------------------------------------------------------

const outbox = (() => {
  const name = desk && `outbox/${desk.dataset.user}/${desk.dataset.campaign}`;
  let entries = desk ? JSON.parse(localStorage.getItem(name) || "[]") : [];
  let sending = null;
  let attempts = 0;
  let timer = null;

  const keep = () => localStorage.setItem(name, JSON.stringify(entries));

  function put(url, body) {
    entries.push({ url, body });
    keep();
    // Paint the next pair first: sending would delay it.
    requestAnimationFrame(() => setTimeout(send));
  }

  function send() {
    sending ??= run().finally(() => (sending = null));
    return sending;
  }

  async function run() {
    clearTimeout(timer);
    while (entries.length) {
      const { url, body } = entries[0];
      try {
        const html = await ask(url, body);
        entries.shift();
        keep();
        attempts = 0;
        say("connection", "");
        applyUpdate(html);
      } catch (error) {
        if (error instanceof Stale) return say("connection", desk.dataset.saysReload);
        const message = error instanceof Busy ? desk.dataset.saysBusy : desk.dataset.saysLost;
        say("connection", `${message} ${entries.length}`);
        const wait = error.wait || DELAYS[Math.min(attempts++, DELAYS.length - 1)];
        timer = setTimeout(send, wait);
        return undefined;
      }
    }
    return undefined;
  }

  return {
    put,
    send,
    has: (lease) => entries.some(({ body }) => body.lease === lease),
    leases: () => entries.map(({ body }) => body.lease),
    waiting: () => entries.length,
  };
})();

// --- answering ---------------------------------------------------------------------------------------------------

let judgingSince = null;
let lastAnswer = 0;
const pace = [];

function secondsNow() {
  return shownAt === null ? "" : ((performance.now() - shownAt) / 1000).toFixed(2);
}

function fillIn(form) {
  form.elements.seconds.value = secondsNow();
  form.elements.tools.value = form.closest(".item").dataset.tools || "";
}

function answer(form, value) {
  const item = form.closest(".item");
  fillIn(form);
  const { lease, key, seconds, tools } = form.elements;
  trackPace(Number(seconds.value));
  const body = { lease: lease.value, key: key.value, answer: value, seconds: seconds.value, tools: tools.value };
  const address = form.getAttribute("action");
  say("hint", hint());
  document.querySelector("#state .notice").textContent = "";
  outbox.put(address, body);
  removeItem(item);
}

function trackPace(seconds) {
  const now = performance.now();
  if (judgingSince === null || now - lastAnswer > 5 * 60_000) judgingSince = now;
  lastAnswer = now;
  pace.push(seconds);
  if (pace.length > 5) pace.shift();
}

function hint() {
  const tooFast = Number(desk.dataset.tooFast);
  if (pace.length === 5 && pace.every((seconds) => seconds < tooFast)) return desk.dataset.saysFast;
  if (performance.now() - judgingSince > Number(desk.dataset.breakAfter) * 1000) {
    judgingSince = performance.now();
    return desk.dataset.saysBreak;
  }
  return "";
}

async function undo(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await outbox.send();
    if (!outbox.waiting()) applyUpdate(await ask(form.action, { last: form.elements.last.value }), { first: true });
  } catch {
    say("connection", `${desk.dataset.saysLost} ${outbox.waiting()}`);
  } finally {
    button.disabled = false;
  }
}

function skip(form) {
  const item = current();
  if (!item) return;
  const body = { lease: leaseOf(item), reason: form.elements.reason.value };
  form.closest("details").open = false;
  outbox.put(form.getAttribute("action"), body);
  removeItem(item);
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("[data-answer]")) {
    event.preventDefault();
    if (event.submitter && form.closest(".item") === current()) answer(form, event.submitter.value);
  } else if (form.matches("[data-undo]")) {
    event.preventDefault();
    undo(form);
  } else if (form.matches("[data-skip]")) {
    event.preventDefault();
    skip(form);
  } else if (form.matches(".pair")) fillIn(form);
});

window.addEventListener("beforeunload", (event) => {
  if (outbox.waiting()) event.preventDefault();
});

// --- keys and dialogs --------------------------------------------------------------------------------------------

async function openGuideline(link) {
  viewer.used("guideline");
  const dialog = document.getElementById("guideline");
  const text = document.getElementById("guideline-text");
  dialog.showModal();
  if (text.childElementCount) return;
  const page = new DOMParser().parseFromString(await (await fetch(link.href)).text(), "text/html");
  text.replaceChildren(...page.querySelectorAll("main > :not(.leave)"));
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  const link = event.target.closest("a[data-tool=guideline]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    openGuideline(link).catch(() => location.assign(link.href));
  }
  // A click outside a dialog's content closes it.
  if (event.target.matches("dialog[open]")) event.target.close();
});

function controlOf(key) {
  const named = `[data-key="${CSS.escape(key.length === 1 ? key.toLowerCase() : key)}"]`;
  return current()?.querySelector(named) ?? document.querySelector(`.tools ${named}`);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]") || event.target.closest("input, select, textarea")) return;
  if (event.key === "Escape") document.querySelector(".tools details[open]")?.removeAttribute("open");
  // A focused button or link keeps its own Enter and Space.
  if (event.key === " " && event.target.closest("button, a, summary")) return;
  if (viewer.key(event)) return event.preventDefault();
  if (event.repeat) return;
  const control = controlOf(event.key === "=" ? "+" : event.key);
  if (!control || control.disabled) return;
  event.preventDefault();
  if (control.dataset.hold) return viewer.hold(control.dataset.hold, true);
  control.click();
  if (control.matches("summary")) control.parentElement.querySelector("select")?.focus();
});
document.addEventListener("keyup", (event) => {
  const control = controlOf(event.key);
  if (control?.dataset.hold) viewer.hold(control.dataset.hold, false);
});

// --- start -------------------------------------------------------------------------------------------------------

function start() {
  const unsent = outbox.waiting();
  for (const item of items()) {
    if (outbox.has(leaseOf(item))) item.remove();
    else decode(item);
  }
  show(items()[0]);
  if (unsent) outbox.send().then(() => outbox.waiting() || say("hint", desk.dataset.saysUnsent));
  refreshLater();
}

if (desk) start();
else show(current());
