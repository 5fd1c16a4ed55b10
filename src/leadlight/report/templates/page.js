"use strict";
/* The page as a whole: which part is in view, closed parts opened for print, components started. */
(() => {
  const links = [...document.querySelectorAll("nav.parts a")];
  const heads = links.map((link) => document.getElementById(link.hash.slice(1)));
  const mark = () => {
    const line = 0.3 * innerHeight;
    let current = 0;
    heads.forEach((head, at) => { if (head && head.getBoundingClientRect().top <= line) current = at; });
    links.forEach((link, at) => {
      if (at === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  };
  let asked = 0;
  const soon = () => {
    if (!asked) asked = requestAnimationFrame(() => { asked = 0; mark(); });
  };
  if (links.length) {
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    mark();
  }

  /* On paper nothing can be opened, so tables that are closed are printed open; long texts are not. */
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")].filter(
      (one) => !one.querySelector("pre") && !one.closest("table"));
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
    opened = [];
  });

  /* A locus of the table opens in the plot above it. */
  const chart = document.querySelector("[data-component=manhattan]");
  for (const row of chart ? document.querySelectorAll("tr[data-locus]") : []) {
    const head = row.cells[0];
    const button = Leadlight.make("button", {
      type: "button", class: "opens", "aria-label": `Open ${head.textContent.trim()} at ${row.cells[1].textContent.trim()}`,
      onclick: () => chart.dispatchEvent(new CustomEvent("choose-locus", { detail: Number(row.dataset.locus) })),
    });
    button.append(...head.childNodes);
    head.append(button);
  }

  for (const link of chart ? document.querySelectorAll("a[href^='#locus-']") : []) {
    link.addEventListener("click", (event) => {
      const locus = Number(link.hash.slice("#locus-".length));
      if (!Number.isInteger(locus)) return;
      event.preventDefault();
      chart.dispatchEvent(new CustomEvent("choose-locus", { detail: locus }));
    });
  }

  Leadlight.place();
})();
