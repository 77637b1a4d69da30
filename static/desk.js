"use strict";
// The judging desk: pairs decoded in advance, unsent answers, keys.
//
// An answer shows the next pair immediately and goes into the outbox (outbox.js), which keeps it until the server
// confirms that it is stored. It is resent with the same key until then, so it is neither lost nor stored twice.

const desk = document.getElementById("desk");
const pairs = document.getElementById("pairs");

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
  forgetRule();
  document.querySelector("details.skip")?.removeAttribute("open"); // it was about the pair before
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
  const present = new Set(items().map(leaseOf));
  for (const item of update.querySelectorAll(".item")) {
    if (present.has(leaseOf(item)) || outbox.has(leaseOf(item))) continue;
    if (notes.has(leaseOf(item))) item.querySelector("[name=note]").value = notes.get(leaseOf(item));
    pairs.append(item);
    decode(item);
  }
  const held = state.dataset.held.split(",");
  for (const item of items()) if (!held.includes(leaseOf(item))) item.remove();
  const onScreen = first ? null : current();
  const inOrder = items().sort((a, b) => held.indexOf(leaseOf(a)) - held.indexOf(leaseOf(b)));
  for (const item of inOrder) if (item !== onScreen) pairs.append(item);
  document.getElementById("state").replaceWith(state);
  document.getElementById("own").replaceWith(update.getElementById("own"));
  document.querySelector("[data-undo] [name=last]").value = state.dataset.last;
  if (!onScreen) show(items()[0]);
  refreshLater();
}

class Busy extends Error {
  constructor(seconds) {
    super("the server cannot store answers at the moment");
    this.wait = Number(seconds) * 1000 || 0;
  }
}
class SignedOut extends Error {} // or signed in again, perhaps as someone else

const field = (page) => page.querySelector("[name=csrfmiddlewaretoken]");

// Return the desk's response. Only one that names this account says that an answer was stored or refused.
async function ask(url, body) {
  const response = await request(url, body).catch((error) => {
    if (error instanceof SignedOut && body) return renew().then(() => request(url, body));
    throw error;
  });
  return response.text();
}

async function request(url, body) {
  const headers = { "HX-Request": "true", "HX-Current-URL": location.href };
  headers["X-Known-Leases"] = [...items().map(leaseOf), ...outbox.leases()].join(",");
  if (body) headers["X-CSRFToken"] = field(document).value;
  const response = await fetch(url, {
    method: body ? "POST" : "GET",
    body: body && new URLSearchParams(body),
    headers,
    signal: AbortSignal.timeout(20_000),
  });
  const account = response.headers.get("X-Desk");
  if (account === desk.dataset.user) return response;
  const signIn = response.headers.get("HX-Redirect");
  if (signIn && !outbox.unkept()) location.assign(signIn);
  if (account || signIn || response.status === 403) throw new SignedOut();
  if (response.status >= 500 || response.status === 429) throw new Busy(response.headers.get("Retry-After"));
  throw new Unexpected();
}

// After signing in again elsewhere as the same person, answers can be sent with the new token.
async function renew() {
  const response = await fetch(desk.dataset.address, { signal: AbortSignal.timeout(20_000) });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (page.getElementById("desk")?.dataset.user !== desk.dataset.user) throw new SignedOut();
  for (const token of document.querySelectorAll("[name=csrfmiddlewaretoken]")) token.value = field(page).value;
}

const refresh = () => ask(desk.dataset.address).then(applyUpdate);

let refreshTimer = null;
function refreshLater() {
  clearTimeout(refreshTimer);
  if (!document.getElementById("state")?.hasAttribute("data-refresh")) return;
  refreshTimer = setTimeout(() => refresh().catch(refreshLater), 2000);
}

// --- unsent answers ----------------------------------------------------------------------------------------------

const outbox =
  desk &&
  createOutbox({
    name: `answers/${desk.dataset.user}${desk.dataset.address}`,
    earlierName: `outbox/${desk.dataset.user}/${desk.dataset.campaign}`,
    post: ask,
    confirmed: applyUpdate,
    answeredElsewhere,
    damaged: () => say("damaged", desk.dataset.saysDamaged),
    report,
  });

function report({ unsent, unkept, error }) {
  const says = desk.dataset;
  const reasons = [[Busy, says.saysBusy], [SignedOut, says.saysSignedOut], [Unexpected, says.saysUnexpected]];
  const why = error && (reasons.find(([kind]) => error instanceof kind)?.[1] ?? says.saysLost);
  const isWorthSaying = unsent && (error || unkept);
  say("connection", isWorthSaying ? `${why ?? ""} ${unkept ? says.saysUnkept : says.saysKept} ${unsent}`.trim() : "");
  if (!unsent && !current()) refresh().catch(() => {}); // another tab may have answered this one's pairs
}

// Another tab has answered or skipped a pair.
function answeredElsewhere(lease) {
  const item = items().find((one) => leaseOf(one) === lease);
  if (item) removeItem(item);
}

// --- answering ---------------------------------------------------------------------------------------------------

let judgingSince = null;
let lastAnswer = 0;
const pace = [];
const notes = new Map(); // lease -> note of an answer from this page, for when it is undone

function secondsNow() {
  return shownAt === null ? "" : ((performance.now() - shownAt) / 1000).toFixed(2);
}

function fillIn(form) {
  form.elements.seconds.value = secondsNow();
  form.elements.tools.value = form.closest(".item").dataset.tools || "";
}

function answer(form, value) {
  const item = form.closest(".item");
  forgetRule();
  fillIn(form);
  const { lease, key, seconds, tools, note } = form.elements;
  trackPace(Number(seconds.value));
  const body = { lease: lease.value, key: key.value, answer: value, seconds: seconds.value, tools: tools.value };
  if (note.value) body.note = note.value;
  notes.set(lease.value, note.value);
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
    say("hint", desk.dataset.saysNotUndone);
  } finally {
    button.disabled = false;
  }
}

function skip(form) {
  const item = current();
  if (!item) return;
  const body = { lease: leaseOf(item), reason: form.elements.reason.value, note: form.elements.note.value };
  form.elements.note.value = "";
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
  } else if (form.matches(".pair")) {
    if (form.dataset.sent) return event.preventDefault(); // a second key before the next page comes
    form.dataset.sent = "yes";
    fillIn(form);
  }
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll(".pair[data-sent]")) delete form.dataset.sent;
});

// --- keys and dialogs --------------------------------------------------------------------------------------------

async function openGuideline(link) {
  viewer.used("guideline");
  const dialog = document.getElementById("guideline");
  const text = document.getElementById("guideline-text");
  dialog.showModal();
  if (text.querySelector("h1")) return;
  try {
    const page = new DOMParser().parseFromString(await (await fetch(link.href)).text(), "text/html");
    for (const link of page.querySelectorAll("main .leave")) link.remove();
    text.replaceChildren(...page.querySelectorAll("main > *"));
  } catch {
    text.textContent = desk.dataset.saysNoGuideline;
  }
}

document.addEventListener("click", (event) => {
  // After a click with the mouse, keys are for the pair again, not for the tool.
  if (event.detail > 0 && event.target.closest(".tools :is(button, a, summary)")) focusPair();
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  const link = event.target.closest("a[data-tool=guideline]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    openGuideline(link);
  }
  // A click outside a dialog's content closes it.
  if (event.target.matches("dialog[open]")) event.target.close();
});

function focusPair() {
  current()?.focus({ preventScroll: true });
}

// A box that opens takes the focus, and gives it back to the pair. `toggle` does not bubble.
document.addEventListener(
  "toggle",
  ({ target }) => {
    if (target.matches("details.skip, details.note")) focusBox(target);
  },
  true,
);

// A note that a page opens with leaves the focus where it is.
function focusBox(box, byPerson = Boolean(desk) || box.contains(document.activeElement)) {
  const inside = box.contains(document.activeElement) && document.activeElement.localName !== "summary";
  if (!box.open && box.contains(document.activeElement)) focusPair();
  else if (box.open && byPerson && !inside) box.querySelector("select, textarea").focus();
}

function closeBoxes() {
  for (const box of document.querySelectorAll("details.skip[open], .item:not(.ahead) details.note[open]")) {
    box.open = false;
    focusBox(box); // at once: the next key may come before `toggle`
  }
}

// The number of a rule stands on a button of either side: it marks both, and an arrow key chooses the side.
let rule = "";

function chooseRule(number) {
  const buttons = current()?.querySelectorAll(`[data-rule="${CSS.escape(number)}"]`) ?? [];
  if (!buttons.length) return false;
  forgetRule();
  rule = number;
  current().classList.add("rule-chosen");
  for (const button of buttons) button.classList.add("chosen");
  say("hint", `${buttons[0].querySelector("span").textContent}: ${pairs.dataset.saysSide}`);
  return true;
}

function forgetRule() {
  if (!rule) return;
  rule = "";
  for (const marked of pairs.querySelectorAll(".rule-chosen, .chosen")) marked.classList.remove("rule-chosen", "chosen");
  say("hint", "");
}

function buttonOfRule(key) {
  const side = rule && { ArrowLeft: "left", ArrowRight: "right" }[key];
  return side && current()?.querySelector(`.answers.${side} [data-rule="${rule}"]`);
}

function controlOf(key) {
  const named = `[data-key="${CSS.escape(key)}"]`;
  return buttonOfRule(key) || (current()?.querySelector(named) ?? document.querySelector(`.tools ${named}`));
}

const heldKeys = new Map(); // place on the keyboard -> what is held with it

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    forgetRule();
    closeBoxes();
  }
  // Enter ends a note: it must not press the form's first button.
  if (event.key === "Enter" && !event.shiftKey && event.target.matches("details.note textarea")) {
    event.preventDefault();
    closeBoxes();
  }
  const key = keys.pressed(event);
  if (!key) return;
  if (!buttonOfRule(key) && viewer.key(key)) return event.preventDefault();
  if (event.repeat) return;
  if (chooseRule(key)) return event.preventDefault();
  const control = controlOf(key);
  if (!control || control.disabled) return;
  event.preventDefault();
  if (control.dataset.hold) {
    heldKeys.set(event.code, control.dataset.hold);
    return viewer.hold(control.dataset.hold, true);
  }
  control.click();
  if (control.matches("summary")) focusBox(control.parentElement, true); // what is typed now is text, before `toggle` says so
});
document.addEventListener("keyup", ({ code }) => {
  if (heldKeys.has(code)) viewer.hold(heldKeys.get(code), false);
  heldKeys.delete(code);
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
