"use strict";
// Answers that the server has not confirmed yet.
//
// A page keeps its answers in memory, and each as an entry of its own in localStorage, from which other tabs and the next
// page send them too. An answer is sent even if the browser cannot store it. Tabs take turns where the browser offers
// locks; if two send the same answer at once, the server stores it once by its key.

// localStorage may be full, blocked, absent or broken.
const storage = {
  names: (prefix) => storage.attempt(() => Object.keys(localStorage).filter((name) => name.startsWith(prefix))) ?? [],
  read: (name) => storage.attempt(() => localStorage.getItem(name)),
  remove: (name) => storage.attempt(() => localStorage.removeItem(name)),
  // Return whether the value is stored.
  write(name, value) {
    if (storage.read(name) !== value) storage.attempt(() => localStorage.setItem(name, value));
    return storage.read(name) === value;
  },
  attempt(action) {
    try {
      return action();
    } catch {
      return null;
    }
  },
};

// A response that confirms nothing, about one answer: others can still be sent.
class Unexpected extends Error {}

// name: of the account's answers in this campaign, so that nobody sends the answers of someone else.
// post(url, body): send an answer; return the response once it is confirmed, and throw otherwise.
// confirmed(response), answeredElsewhere(lease), damaged(): called when these happen.
// report({ unsent, unkept, error }): called when an answer could not be sent or stored, and when all are sent. unkept is
// the number of answers that only this page's memory holds.
function createOutbox({ name, earlierName, post, confirmed, answeredElsewhere, damaged, report }) {
  const SENT = "sent"; // an entry's value before it is removed, for the tab that has it in memory
  const DELAYS = [500, 1000, 2000, 4000, 8000];
  const prefix = `${name}/`;
  const own = new Map(); // id -> entry
  const unreadable = new Set();
  let sending = null;
  let attempts = 0;
  let timer = null;
  let error = null;

  function makeEntry({ url, body, at }) {
    return { id: body.key ?? `skip-${body.lease}`, url, body, at: Number(at) || 0 };
  }

  function keep({ id, url, body, at }) {
    return storage.write(prefix + id, JSON.stringify({ url, body, at }));
  }

  function isAnswer(value) {
    return typeof value?.url === "string" && /^\/(?!\/)/.test(value.url) && typeof value.body?.lease === "string";
  }

  function setAside(place, text) {
    if (!unreadable.has(place)) damaged();
    unreadable.add(place);
    if (storage.write(`unreadable/${place}`, text)) storage.remove(place);
  }

  function adopt(place) {
    const text = storage.read(place);
    if (text === null || text === SENT) return null; // another tab is removing it
    const value = storage.attempt(() => JSON.parse(text));
    if (!isAnswer(value)) return setAside(place, text);
    return { ...makeEntry(value), id: place.slice(prefix.length) };
  }

  function waiting() {
    const stored = storage.names(prefix).filter((place) => !own.has(place.slice(prefix.length)));
    const entries = [...own.values(), ...stored.map(adopt).filter(Boolean)];
    return entries.sort((one, other) => one.at - other.at);
  }

  // Versions before 0.3 stored all answers of a campaign as one list.
  function adoptEarlier() {
    const text = storage.read(earlierName);
    if (text === null) return;
    const list = storage.attempt(() => JSON.parse(text));
    if (!Array.isArray(list) || !list.every(isAnswer)) return setAside(earlierName, text);
    const entries = list.map((value, at) => makeEntry({ ...value, at }));
    for (const entry of entries) own.set(entry.id, entry);
    if (entries.every(keep)) storage.remove(earlierName);
  }

  function put(url, body) {
    const entry = makeEntry({ url, body, at: Date.now() });
    own.set(entry.id, entry);
    if (!keep(entry)) setTimeout(tell, 500); // it is usually sent by then
    // Paint the next pair first: sending would delay it.
    requestAnimationFrame(() => setTimeout(send));
  }

  function forget(id) {
    own.delete(id);
    if (storage.read(prefix + id) !== null) storage.write(prefix + id, SENT);
    storage.remove(prefix + id);
  }

  function unkept() {
    return [...own.values()].filter((entry) => !keep(entry)).length;
  }

  function tell() {
    report({ unsent: waiting().length, unkept: unkept(), error });
  }

  function send() {
    sending ??= Promise.resolve().then(inTurn);
    return sending;
  }

  async function inTurn() {
    let hasBegun = false;
    const begin = () => {
      hasBegun = true;
      return run();
    };
    try {
      await navigator.locks.request(name, begin);
    } catch (failure) {
      if (hasBegun) throw failure;
      await begin(); // there are no locks on a site without TLS, or where storage is blocked
    }
  }

  async function run() {
    clearTimeout(timer);
    error = null;
    try {
      await sendAll();
    } finally {
      sending = null; // an answer given from now on needs another turn
    }
    tell();
    if (error) timer = setTimeout(send, error.wait || DELAYS[Math.min(attempts++, DELAYS.length - 1)]);
  }

  async function sendAll() {
    const tried = new Set();
    const next = () => waiting().find(({ id }) => !tried.has(id));
    for (let entry = next(); entry && (!error || error instanceof Unexpected); entry = next()) {
      tried.add(entry.id);
      let response;
      try {
        response = await post(entry.url, entry.body);
      } catch (failure) {
        error = failure;
        continue;
      }
      attempts = 0;
      forget(entry.id);
      confirmed(response);
    }
  }

  function sendNow() {
    attempts = 0;
    send();
  }

  window.addEventListener("online", sendNow);
  document.addEventListener("visibilitychange", sendNow); // a hidden page paints nothing, so `put` would wait
  window.addEventListener("storage", ({ key, newValue }) => {
    if (key !== null && !key.startsWith(prefix)) return;
    if (newValue === SENT) own.delete(key.slice(prefix.length));
    const entry = newValue === null ? null : waiting().find(({ id }) => key === prefix + id);
    if (entry) answeredElsewhere(entry.body.lease);
    else tell();
  });
  window.addEventListener("beforeunload", (event) => {
    if (unkept()) event.preventDefault();
  });
  adoptEarlier();

  return {
    put,
    send,
    has: (lease) => waiting().some(({ body }) => body.lease === lease),
    leases: () => waiting().map(({ body }) => body.lease),
    waiting: () => waiting().length,
    unkept,
  };
}
