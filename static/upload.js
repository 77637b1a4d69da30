"use strict";
// Sends files in slices, each again until it has arrived, with progress. Without this script the form sends them at once.
(() => {
  const form = document.getElementById("upload");
  const drop = document.getElementById("drop");
  const panel = document.getElementById("upload-progress");
  const fault = document.getElementById("upload-fault");
  const status = panel.querySelector("[role=status]");
  const token = form.elements.csrfmiddlewaretoken.value;
  const says = form.dataset;
  const WAITS = [1, 2, 4, 8, 16, 30, 60]; // seconds before a slice is sent again
  const AT_ONCE = 3;
  let running = null; // {controller, addresses}

  class Fatal extends Error {}

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  async function request(address, body, signal) {
    const response = await fetch(address, { method: "POST", body, signal, redirect: "manual", headers: { "X-CSRFToken": token } });
    if (response.type === "opaqueredirect") throw new Fatal(says.saysSignedOut);
    if (response.status >= 500) throw new Error(response.statusText);
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    const answer = isJson ? await response.json() : { detail: response.status === 403 ? says.saysSignedOut : await response.text() };
    if (!response.ok) throw new Fatal(answer.detail);
    return answer;
  }

  async function patiently(address, body, signal) {
    for (let attempt = 0; ; attempt++) {
      try {
        const answer = await request(address, body, signal);
        status.textContent = "";
        return answer;
      } catch (error) {
        if (error instanceof Fatal || signal.aborted) throw error;
        if (attempt === WAITS.length) throw new Fatal(says.saysLost);
        status.textContent = says.saysRepeat;
        await new Promise((resolve) => setTimeout(resolve, WAITS[attempt] * 1000));
      }
    }
  }

  async function sendFile({ file, name }, number, { slice: address, ticket }, signal, onProgress) {
    let offset = 0;
    do {
      const query = new URLSearchParams({ ticket, number, name, size: file.size, offset });
      let content;
      try { // a file that has changed or gone since it was chosen
        content = await file.slice(offset, offset + Number(says.sliceBytes)).arrayBuffer();
      } catch {
        throw new Fatal(fill(says.saysUnreadable, { name }));
      }
      const { size } = await patiently(`${address}?${query}`, new Blob([content], { type: "application/octet-stream" }), signal);
      onProgress(size - offset);
      offset = size;
    } while (offset < file.size);
  }

  async function sendAll(files, addresses, signal) {
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
    let sent = 0, done = 0, next = 0;
    const show = () => {
      const share = Math.floor((100 * (sent + done)) / (bytes + files.length));
      panel.querySelector("progress").value = share / 100;
      panel.querySelector(".numeric").textContent = fill(says.saysProgress, { n: done, total: files.length, share: `${share}%` });
    };
    const worker = async () => {
      while (next < files.length) {
        const number = next++;
        await sendFile(files[number], number, addresses, signal, (more) => { sent += more; show(); });
        done += 1;
        show();
      }
    };
    show();
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  async function start(files) {
    if (running) return;
    fault.hidden = true;
    if (!files.length) return fail(says.saysNone);
    const controller = new AbortController();
    running = { controller };
    toggle(true);
    try {
      const announced = new URLSearchParams({ files: files.length, bytes: files.reduce((sum, { file }) => sum + file.size, 0) });
      running.addresses = await patiently(says.begin, announced, controller.signal);
      await sendAll(files, running.addresses, controller.signal);
      const { address } = await patiently(running.addresses.finish, new URLSearchParams(), controller.signal);
      running = null;
      location.assign(address);
    } catch (error) {
      const wasCancelled = controller.signal.aborted;
      controller.abort();
      discard();
      running = null;
      toggle(false);
      if (!wasCancelled) fail(error.message);
    }
  }

  function discard() {
    if (!running?.addresses) return;
    const body = new FormData();
    body.append("csrfmiddlewaretoken", token);
    navigator.sendBeacon(running.addresses.delete, body);
  }

  function fail(message) {
    fault.textContent = message;
    fault.hidden = false;
    fault.scrollIntoView({ block: "nearest" });
  }

  function toggle(isBusy) {
    panel.hidden = !isBusy;
    drop.disabled = document.getElementById("upload-start").disabled = isBusy;
    status.textContent = "";
  }

  const named = (list) => [...list].map((file) => ({ file, name: file.webkitRelativePath || file.name }));

  async function filesOf(entry, above = "") {
    const name = above + entry.name;
    if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), name }];
    const reader = entry.createReader();
    const found = [];
    for (;;) { // a reader returns a hundred entries at a time
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!entries.length) return found;
      for (const one of entries) found.push(...(await filesOf(one, `${name}/`)));
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start([...form.querySelectorAll("input[type=file]")].flatMap((input) => named(input.files)));
  });
  document.getElementById("upload-cancel").addEventListener("click", () => running?.controller.abort());
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = named(event.dataTransfer.files); // read now: the list is empty after the first wait
    try {
      start(entries.length ? (await Promise.all(entries.map((entry) => filesOf(entry)))).flat() : files);
    } catch (error) {
      fail(error.message);
    }
  });
  addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
  addEventListener("pagehide", discard);
})();
