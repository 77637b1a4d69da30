"use strict";
// An open menu closes by Escape, and by a click elsewhere.

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== except) menu.open = false;
}

document.addEventListener("click", ({ target }) => closeMenus(target.closest("details.menu")));
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (menu?.contains(document.activeElement)) menu.querySelector("summary").focus();
  closeMenus();
});
