// Adds to every page what only the browser knows: the reader's time zone and clipboard. Pages are complete without it.
"use strict";

const fleetSync = (() => {
  const COPIED_MS = 2000;
  const pad = (number) => String(number).padStart(2, "0");

  const localTime = (moment) =>
    `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())} ` +
    `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`;

  /** Shows times in the reader's zone; the title has UTC, as the log and the journal do. */
  const showLocalTimes = (root) => {
    for (const each of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(each.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      const utc = each.title;
      if (each.matches(".local")) each.textContent = localTime(moment);
      else each.title = `${localTime(moment)} here, ${utc}`;
    }
  };

  /** Puts a copy button after each text that people copy. Browsers offer no clipboard to insecure pages. */
  const addCopyButtons = (root) => {
    if (!navigator.clipboard) return;
    for (const each of root.querySelectorAll("code.copied")) {
      const button = document.createElement("button");
      button.type = "button";
      button.id = `copy-${each.id}`; // so that it keeps the focus when its fragment is replaced
      button.className = "quiet copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy ${each.textContent}`);
      each.after(" ", button);
    }
  };

  const enhance = (root) => {
    showLocalTimes(root);
    addCopyButtons(root);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    const text = document.getElementById(button.id.slice("copy-".length)).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => { button.textContent = "Copy"; }, COPIED_MS);
  });

  enhance(document);
  return { enhance };
})();
