// Keeps the overview up to date: replaces its fragments with those that its events bring. The page works without it.
"use strict";

(() => {
  const ADDRESS = document.currentScript.dataset.events;
  const RETRY_MS = 15000;
  const REVIEW_MS = 3000;
  const postponed = new Map();

  /** Returns whether the user is editing a field in this fragment: it must not be replaced meanwhile. */
  const isBeingEdited = (fragment) =>
    [...fragment.querySelectorAll("input:not([type=hidden])")].some(
      (field) => field.value !== field.defaultValue || field === document.activeElement,
    );

  /** Returns the element of a new fragment that corresponds to an element of the old one. */
  const counterpart = (fragment, element) => {
    if (element.id) return fragment.querySelector(`#${CSS.escape(element.id)}`);
    const link = element.getAttribute("href");
    if (link) return fragment.querySelector(`a[href="${CSS.escape(link)}"]`);
    return element.matches("summary") ? counterpart(fragment, element.parentElement)?.querySelector("summary") : null;
  };

  const replace = (name, html) => {
    const old = document.getElementById(name);
    const box = document.createElement("template");
    box.innerHTML = html;
    const fresh = box.content.firstElementChild;
    if (!old || !fresh) return;
    fleetSync.enhance(box.content);
    for (const seen of old.querySelectorAll("details[id]")) {
      const same = counterpart(fresh, seen);
      if (same) same.open = seen.open;
    }
    if (old.isEqualNode(fresh)) {
      postponed.delete(name);
      for (const hint of old.querySelectorAll(".stale")) hint.hidden = true;
      return;
    }
    if (isBeingEdited(old)) {
      postponed.set(name, html);
      for (const hint of old.querySelectorAll(".stale")) hint.hidden = false;
      return;
    }
    postponed.delete(name);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    if (name === "announcement") {
      old.textContent = fresh.textContent; // screen readers announce a changed text, not a replaced element
      return;
    }
    if (name === "history" && newestRun(old) !== newestRun(fresh)) document.querySelector(".done")?.remove();
    old.replaceWith(fresh);
    if (name === "approve") holdBack(old, fresh);
    if (fresh.dataset.title) document.title = fresh.dataset.title;
    if (focused) counterpart(fresh, focused)?.focus({ preventScroll: true });
  };

  /** Identifies the newest run: when it changes, the confirmation of the last action is removed. */
  const newestRun = (fragment) => fragment.querySelector(".runs tbody a")?.getAttribute("href");

  /** Disables the button briefly, so that a click meant for the old changes cannot approve the new ones. */
  const holdBack = (old, fresh) => {
    const [before, button] = [old, fresh].map((fragment) => fragment.querySelector("button[name=digest]"));
    if (!before || !button || before.value === button.value) return;
    const hint = fresh.querySelector(".stale");
    button.disabled = true;
    if (hint) hint.hidden = false;
    setTimeout(() => { button.disabled = false; }, REVIEW_MS);
  };

  const replacePostponed = () => postponed.forEach((html, name) => replace(name, html));
  document.addEventListener("input", () => setTimeout(replacePostponed));
  document.addEventListener("focusout", () => setTimeout(replacePostponed));

  const showDisconnected = (yes) => {
    document.documentElement.classList.toggle("stale-page", yes);
    const hint = document.getElementById("disconnected");
    if (hint) hint.hidden = !yes;
  };

  const listen = () => {
    const events = new EventSource(ADDRESS);
    events.addEventListener("open", () => showDisconnected(false));
    events.addEventListener("fragments", (event) => {
      for (const [name, html] of Object.entries(JSON.parse(event.data))) replace(name, html);
    });
    events.addEventListener("error", () => {
      showDisconnected(true);
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS);
    });
  };

  listen();
})();
