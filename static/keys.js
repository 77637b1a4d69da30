"use strict";
// Shortcuts on every keyboard layout: which one a key event means, and whether the page may use it.

const keys = (() => {
  const FULL_WIDTH = /^[！-～]$/; // East Asian input methods: ASCII at a fixed distance
  const NAMED = /^[A-Z][A-Za-z0-9]+$/; // Enter, ArrowLeft, F1
  const WITHOUT_LETTER = ["Process", "Dead", "Unidentified"]; // an input method or an accent took the key

  // A letter, digit or sign as printed on the key. Where that is of no use (Cyrillic, Greek, Hebrew, Arabic, Korean, the
  // upper row of AZERTY), the letter or digit at this place of a US keyboard. Layouts of Latin letters keep theirs.
  function shortcut(event) {
    const key = FULL_WIDTH.test(event.key) ? String.fromCharCode(event.key.charCodeAt(0) - 0xfee0) : event.key;
    if (/^[a-z0-9 +=?-]$/i.test(key)) return key === "=" ? "+" : key.toLowerCase();
    if (NAMED.test(key) && !WITHOUT_LETTER.includes(key)) return key;
    const [, group, place] = /^(Key|Digit|Numpad)([A-Z0-9])$/.exec(event.code) ?? [];
    if (group === "Key") return /\p{Script=Latin}/u.test(key) && !WITHOUT_LETTER.includes(key) ? "" : place.toLowerCase();
    if (group && !event.shiftKey) return place;
    if (event.code === "Slash" && event.shiftKey) return "?";
    return event.code === "Space" ? " " : "";
  }

  const isChord = (event) =>
    event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.getModifierState("AltGraph");

  // What a focused control does itself with a key.
  function isTaken(key, target) {
    if (target.closest("select, textarea, [contenteditable]")) return true;
    const input = target.closest("input");
    if (input?.type === "range") return /^(Arrow|Page|Home|End)/.test(key);
    if (input && !["checkbox", "radio", "button", "submit"].includes(input.type)) return true;
    return (key === " " && Boolean(target.closest("button, summary, input"))) || key === "Enter";
  }

  // The shortcut that was pressed; empty if it is none for the page.
  function pressed(event) {
    if (!event.key || isChord(event)) return ""; // browsers fill in forms by events without a key
    const key = shortcut(event);
    return isTaken(key, event.target) ? "" : key;
  }

  // The letter of a key event, in a field too; empty if it is none.
  function letter(event) {
    const key = event.key && !isChord(event) ? shortcut(event) : "";
    return /^[a-z]$/.test(key) ? key : "";
  }

  return { pressed, letter };
})();
