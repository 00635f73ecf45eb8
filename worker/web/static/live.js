// Makes the page live: puts the parts that /events sends in the place of the old ones. Without it the page is whole, too.
"use strict";

(() => {
  const RETRY_MS = 15000;
  const waiting = new Map();

  /** Tells whether somebody is at work in this part: it is not to be torn from under their hands. */
  const busy = (part) =>
    [...part.querySelectorAll("input:not([type=hidden])")].some(
      (field) => field.value !== field.defaultValue || field === document.activeElement,
    );

  /** Finds in a new part what is meant by an element of the old one. */
  const twin = (part, element) => {
    if (element.id) return part.querySelector(`#${CSS.escape(element.id)}`);
    const link = element.getAttribute("href");
    if (link) return part.querySelector(`a[href="${CSS.escape(link)}"]`);
    return element.matches("summary") ? twin(part, element.parentElement)?.querySelector("summary") : null;
  };

  const put = (name, html) => {
    const old = document.getElementById(name);
    const box = document.createElement("template");
    box.innerHTML = html;
    const fresh = box.content.firstElementChild;
    if (!old || !fresh) return;
    for (const seen of old.querySelectorAll("details[id]")) {
      const same = twin(fresh, seen);
      if (same) same.open = seen.open;
    }
    if (old.isEqualNode(fresh)) {
      waiting.delete(name);
      for (const hint of old.querySelectorAll(".stale")) hint.hidden = true;
      return;
    }
    if (busy(old)) {
      waiting.set(name, html);
      for (const hint of old.querySelectorAll(".stale")) hint.hidden = false;
      return;
    }
    waiting.delete(name);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    if (name === "said") {
      old.textContent = fresh.textContent; // a live region speaks when its text changes, not when it is replaced
      return;
    }
    old.replaceWith(fresh);
    if (fresh.dataset.title) document.title = fresh.dataset.title;
    if (focused) twin(fresh, focused)?.focus({ preventScroll: true });
  };

  const catchUp = () => waiting.forEach((html, name) => put(name, html));
  document.addEventListener("input", () => setTimeout(catchUp));
  document.addEventListener("focusout", () => setTimeout(catchUp));

  const lost = (yes) => {
    document.documentElement.classList.toggle("stale-page", yes);
    const hint = document.getElementById("lost");
    if (hint) hint.hidden = !yes;
  };

  const listen = () => {
    const events = new EventSource("/events");
    events.addEventListener("open", () => lost(false));
    events.addEventListener("parts", (event) => {
      for (const [name, html] of Object.entries(JSON.parse(event.data))) put(name, html);
    });
    events.addEventListener("error", () => {
      lost(true);
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS);
    });
  };

  listen();
})();
