// Buttons that copy the text of another element: data-copy is its id. Without this script the text can be selected.
(() => {
  const textOf = (element) =>
    element.tagName === "TABLE"
      ? [...element.rows].map((row) => [...row.cells].map((cell) => cell.innerText.trim()).join("\t")).join("\n")
      : element.textContent.trim();

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(textOf(source));
      button.textContent = button.dataset.saysCopied;
    } catch { // no permission, or a page without TLS: select the text, so that the keyboard can copy it
      getSelection().selectAllChildren(source);
      button.textContent = button.dataset.saysSelected;
    }
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", () => copy(button));
  }
})();
