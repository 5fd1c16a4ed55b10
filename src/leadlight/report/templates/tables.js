"use strict";
/* Tables of class "sortable" get a button in each column's head; the page is whole without it.
   What has no value stands last, whichever way the column is sorted. */
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const text = row.cells[column].textContent.trim().replace(/^< /, "").replaceAll("−", "-")
          .replace(/(\d),(?=\d{3})/g, "$1");
        if (text === "" || text === "n/a" || text === "–") return null;
        /* A place in the genome, 3:38781269: by chromosome, then along it. */
        const place = text.match(/^(\w+):(\d+)$/);
        if (place) return (Number(place[1]) || 23 + "XYM".indexOf(place[1][0])) * 1e10 + Number(place[2]);
        const power = text.match(/^([-+.\d]+) × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)/);
        if (power) {
          const digits = [...power[2]].map((c) => (c === "⁻" ? "-" : "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(c))).join("");
          return Number(power[1]) * 10 ** Number(digits);
        }
        const number = Number.parseFloat(text);
        return Number.isNaN(number) || /^[A-Za-z]/.test(text) ? text : number;
      };
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        const numbers = typeof x === "number" && typeof y === "number";
        const order = numbers ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
